// What is wrong with a command line of pcache, found by the program's own parser: commander's objects with all their actions replaced. Nothing is run.

import type { Command } from 'commander';
import { messageNames } from '../../src/cli/completion-values.js';
import { commandRows } from '../../src/cli/commands.js';
import { buildProgram } from '../../src/cli/main.js';
import { Output } from '../../src/cli/output.js';
import { parseSize } from '../../src/cli/size.js';
import { messageOf } from '../../src/errors.js';
import { parseListenAddress } from '../../src/gateway/listen-address.js';
import { parseMountOptions } from '../../src/gateway/mount-options.js';

interface Parsed {
  readonly name: string;
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
}

/** @param words what stands behind `pcache`. @returns why the program would refuse them before it has looked at any file; undefined if it would not */
export async function pcacheFault(words: readonly string[]): Promise<string | undefined> {
  const globals = { json: false, quiet: false, logLevel: 'info' } as const;
  const names = commandRows.map(({ name }) => name);
  const program = await buildProgram(names, { globals, output: new Output(globals), exitStatus: 0 });
  let parsed: Parsed | undefined;
  silence(program, (command) => (parsed = { name: command.name(), args: command.args, options: command.opts() }));
  try {
    await program.parseAsync(words, { from: 'user' });
    if (parsed === undefined) return 'no command';
    refuseValues(parsed);
    return undefined;
  } catch (error) {
    return isHelp(error) ? undefined : messageOf(error).replaceAll('\n', ' ');
  }
}

/** Commander throws to end a program that has printed its help or its version. */
function isHelp(error: unknown): boolean {
  const { code, exitCode } = error as { code?: unknown; exitCode?: unknown };
  return exitCode === 0 && typeof code === 'string' && code.startsWith('commander.');
}

function silence(command: Command, onParsed: (command: Command) => void): void {
  command.configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
  // The program's own action tells of commands that there are not. A command that has commands below it shows its help without one.
  if (command.parent !== null && command.commands.length === 0) command.action(() => onParsed(command));
  for (const below of command.commands) silence(below, onParsed);
}

/** What actions check themselves, with their own functions. */
function refuseValues({ name, args, options }: Parsed): void {
  if (name === 'format' && isValue(options.size)) parseSize(options.size, '--size');
  if (isValue(options.metricsListen)) parseListenAddress('--metrics-listen', options.metricsListen);
  if (Array.isArray(options.options)) parseMountOptions(options.options as string[]);
  if (name === 'message') refuseMessage(args[1] ?? '', args[2] ?? '');
}

/** A value that is none, in capitals, stands for one. */
function isValue(text: unknown): text is string {
  return typeof text === 'string' && !/^[A-Z]+$/.test(text);
}

function refuseMessage(name: string, value: string): void {
  if (!messageNames.includes(name)) throw new Error(`message ${name}: unknown`);
  const isRight = name === 'writeback' ? /^(?:pause|resume)$/.test(value) : /^(?:\d|[1-8]\d|90|N)$/.test(value);
  if (!isRight) throw new Error(`message ${name} ${value}: no such value`);
}
