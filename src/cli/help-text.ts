// Help in the width of the terminal, all of it: commander wraps what it makes itself, and adds texts as they are.

import { Command, type AddHelpTextContext, type AddHelpTextPosition } from 'commander';

/** Where no terminal says otherwise, as in man(1). */
const COLUMNS = 80;
/** Longer lines are hard to read, however wide the terminal is. */
const COLUMNS_MAX = 110;
const COLUMNS_MIN = 40;
/** A table whose second column begins behind that share of the width has its second column below its first. */
const TERM_SHARE_MAX = 0.5;
const TERM_INDENT = 6;

/** Columns for help on a stream; `columns` is undefined where it is no terminal, and 0 on terminals that don't know. */
export function helpColumns({ columns }: { readonly columns?: number | undefined }): number {
  return columns === undefined || columns === 0 ? COLUMNS : Math.min(COLUMNS_MAX, Math.max(COLUMNS_MIN, columns));
}

/** A command, and all below it, whose `addHelpText` is wrapped like the rest of its help. */
export class HelpfulCommand extends Command {
  override createCommand(name?: string): HelpfulCommand {
    return new HelpfulCommand(name);
  }

  override addHelpText(position: AddHelpTextPosition, text: string | ((context: AddHelpTextContext) => string)): this {
    return super.addHelpText(position, (context) => {
      const output = this.configureOutput();
      const columns = context.error ? output.getErrHelpWidth?.() : output.getOutHelpWidth?.();
      return wrapHelp(typeof text === 'string' ? text : text(context), columns ?? COLUMNS);
    });
  }
}

interface Paragraph {
  /** What stands before the text in its first line: spaces, or the first column of a table. */
  readonly start: string;
  words: string;
  /** Lines that belong together are wrapped; commands are for copying, and stay as they are. */
  readonly isVerbatim: boolean;
}

/**
 * A text of paragraphs, tables (a line `TERM  EXPLANATION`, and lines below its second column) and titles (`TITLE:`), in lines of at most `columns`.
 * A line `  pcache ...` is a command and stays as it is.
 */
export function wrapHelp(text: string, columns: number): string {
  const paragraphs: Paragraph[] = [];
  for (const line of text.split('\n')) {
    const last = paragraphs.at(-1);
    const indent = line.length - line.trimStart().length;
    const words = line.trim();
    const goesOn = last !== undefined && !last.isVerbatim && last.words !== '' && !last.words.endsWith(':') && last.start.length === indent;
    const row = /^(\s*\S(?:.*?\S)? {2,})(\S.*)$/.exec(line);
    if (words === '' || words.startsWith('pcache ')) paragraphs.push({ start: '', words: line.trimEnd(), isVerbatim: true });
    else if (row !== null) paragraphs.push({ start: row[1]!, words: row[2]!, isVerbatim: false });
    else if (goesOn) last.words += ` ${words}`;
    else paragraphs.push({ start: ' '.repeat(indent), words, isVerbatim: false });
  }
  return paragraphs.flatMap((paragraph) => (paragraph.isVerbatim ? [paragraph.words] : wrapParagraph(paragraph, columns))).join('\n');
}

function wrapParagraph({ start, words }: Paragraph, columns: number): string[] {
  const isTooFar = start.length > columns * TERM_SHARE_MAX && start.trim() !== '';
  const indent = ' '.repeat(isTooFar ? TERM_INDENT : start.length);
  const lines = isTooFar ? [start.trimEnd(), indent] : [start];
  for (const word of words.split(/ +/)) {
    const line = lines.at(-1)!;
    const isFirst = line === indent || line === start;
    if (!isFirst && line.length + 1 + word.length > columns) lines.push(indent + word);
    else lines[lines.length - 1] = isFirst ? line + word : `${line} ${word}`;
  }
  return lines;
}
