// All commands as plain data, read from commander's own objects: what shell completion and the manual page are made of, so that they can't say
// anything else than `--help` does. Hidden commands are left out. Nothing is run.

import type { Command, Option } from 'commander';
import { commandRows } from './commands.js';
import { buildProgram } from './main.js';
import { Output } from './output.js';

export interface ArgumentNode {
  readonly name: string;
  readonly description: string;
  readonly isRequired: boolean;
  readonly isVariadic: boolean;
  /** What it may be, if that is a list. */
  readonly choices: readonly string[] | undefined;
}

export interface OptionNode {
  /** With the dash. */
  readonly short: string | undefined;
  /** With both dashes. */
  readonly long: string;
  readonly description: string;
  /** What help calls the value; undefined for a flag. */
  readonly valueName: string | undefined;
  readonly choices: readonly string[] | undefined;
  readonly defaultText: string | undefined;
}

export interface CommandNode {
  /** Empty for the program itself, then `['loop', 'attach']` for example. */
  readonly path: readonly string[];
  readonly summary: string;
  readonly description: string;
  readonly arguments: readonly ArgumentNode[];
  /** Its own, without those of the commands above it. */
  readonly options: readonly OptionNode[];
  readonly commands: readonly CommandNode[];
  /** What its help says after the lists: examples, exit statuses, tables. */
  readonly after: string;
}

export async function readCommandTree(): Promise<CommandNode> {
  const globals = { json: false, quiet: false, logLevel: 'info' } as const;
  // As if all commands had been named, so that all are loaded.
  const names = commandRows.map(({ name }) => name);
  return nodeOf(await buildProgram(names, { globals, output: new Output(globals), exitStatus: 0 }), []);
}

function nodeOf(command: Command, path: readonly string[]): CommandNode {
  const help = command.createHelp();
  return {
    path,
    summary: command.summary(),
    description: command.description(),
    arguments: command.registeredArguments.map((argument) => ({
      name: argument.name(),
      description: argument.description,
      isRequired: argument.required,
      isVariadic: argument.variadic,
      choices: argument.argChoices,
    })),
    options: help.visibleOptions(command).map(optionNodeOf),
    commands: help
      .visibleCommands(command)
      .filter((each) => each.name() !== 'help')
      .map((each) => nodeOf(each, [...path, each.name()])),
    after: afterOf(command),
  };
}

function optionNodeOf(option: Option): OptionNode {
  return {
    short: option.short,
    long: option.long ?? option.flags,
    description: option.description,
    valueName: /[<[]([^>\]]+)[>\]]/.exec(option.flags)?.[1],
    choices: option.argChoices,
    defaultText: option.defaultValue === undefined ? undefined : String(option.defaultValue),
  };
}

/** No line of help is longer. */
const UNWRAPPED_COLUMNS = 10_000;

/** What `addHelpText` added: all that is printed behind what commander makes itself; not wrapped. */
function afterOf(command: Command): string {
  let text = '';
  command.configureOutput({ writeOut: (part) => (text += part), getOutHelpWidth: () => UNWRAPPED_COLUMNS });
  command.outputHelp();
  return text.slice(command.helpInformation().length).trim();
}
