// The shell code of a document: its blocks, their command lines, and the simple commands that these are made of. Reads as much of the shell's language as the
// documents use: quotes, comments, continued lines, `$(...)`, operators, redirections.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryRoot } from '../support/paths.js';

export interface CommandLine {
  /** From 1. */
  readonly line: number;
  /** Without prompt, comment and what continues it on further lines. */
  readonly text: string;
}

export interface ShellBlock {
  /** What stands behind the fence: `sh`, `console`; empty for a transcript, whose commands have a prompt. */
  readonly language: string;
  readonly commands: readonly CommandLine[];
}

const LANGUAGES = new Set(['sh', 'bash', 'shell', 'console', '']);
const PROMPT = /^[$#] /;

/** From the root of the repository. */
export function readDocument(path: string): string {
  return readFileSync(join(repositoryRoot, path), 'utf8');
}

/** The blocks that have commands. Throws if a block has no end. */
export function shellBlocks(text: string): ShellBlock[] {
  const blocks: ShellBlock[] = [];
  let open: { indent: string; language: string; lines: CommandLine[] } | undefined;
  for (const [at, line] of text.split('\n').entries()) {
    const fence = /^( *)```(\S*)\s*$/.exec(line);
    if (fence !== null && open === undefined) open = { indent: fence[1]!, language: fence[2]!, lines: [] };
    else if (fence !== null && open !== undefined) {
      const commands = LANGUAGES.has(open.language) ? commandLines(open.lines, open.language) : [];
      if (commands.length > 0) blocks.push({ language: open.language, commands });
      open = undefined;
    } else open?.lines.push({ line: at + 1, text: line.slice(open.indent.length) });
  }
  if (open !== undefined) throw new Error(`a block of ${open.language} has no end`);
  return blocks;
}

function commandLines(lines: readonly CommandLine[], language: string): CommandLine[] {
  const hasPrompts = language === '' || language === 'console';
  const found: CommandLine[] = [];
  let isContinued = false;
  for (const { line, text } of lines) {
    if (hasPrompts && !isContinued && !PROMPT.test(text)) continue;
    const code = withoutComment(hasPrompts ? text.replace(PROMPT, '') : text).trim();
    const part = code.replace(/\\$/, '');
    const last = found.at(-1);
    if (isContinued && last !== undefined) found[found.length - 1] = { line: last.line, text: last.text + part };
    else if (part !== '') found.push({ line, text: part });
    isContinued = code.endsWith('\\');
  }
  return found;
}

function withoutComment(line: string): string {
  let quote = '';
  for (let at = 0; at < line.length; at++) {
    const character = line[at]!;
    if (quote !== '') quote = character === quote ? '' : quote;
    else if (character === '"' || character === "'") quote = character;
    else if (character === '#' && (at === 0 || /\s/.test(line[at - 1]!))) return line.slice(0, at);
  }
  return line;
}

/** The words of each simple command in a line, those within `$(...)` first. Assignments, redirections and `sudo` in front are left out. */
export function simpleCommands(line: string): string[][] {
  const inner: string[][] = [];
  const outer = line.replaceAll(/\$\(([^()]*)\)/g, (_, code: string) => {
    inner.push(...simpleCommands(code));
    return '$value';
  });
  const tokens = outer.match(/(?:\d?(?:>>?|<)&?\s*\S+)|&&|\|\||[|;&]|(?:"[^"]*"|'[^']*'|[^\s"'|;&<>])+/g) ?? [];
  const commands: string[][] = [[]];
  for (const token of tokens) {
    if (/^(?:&&|\|\||[|;&])$/.test(token)) commands.push([]);
    else if (!/^\d?[<>]/.test(token)) commands.at(-1)!.push(token.replaceAll(/["']/g, ''));
  }
  return [...inner, ...commands.map(withoutPrefix).filter((words) => words.length > 0)];
}

function withoutPrefix(words: readonly string[]): string[] {
  const at = words.findIndex((word) => word !== 'sudo' && !/^\w+=/.test(word));
  return at < 0 ? [] : words.slice(at);
}

/** Code in running text and tables, without the backticks. */
export function inlineCode(text: string): string[] {
  const prose = text.replaceAll(/^( *)```[\s\S]*?^\1```/gm, '');
  return [...prose.matchAll(/`([^`\n]+)`/g)].map((match) => match[1]!);
}
