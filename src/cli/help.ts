// `pcache help [COMMAND...]`. commander's own shows the general help for what it does not know, which looks like an answer and is none.

import type { Command } from 'commander';
import { PcacheError } from '../errors.js';
import { nearest } from '../gateway/nearest.js';

/** Adds it to the program, behind its other commands. */
export function addHelpCommand(program: Command): void {
  program
    .command('help')
    .argument('[command...]')
    .summary('show help for a command')
    .description('Shows help for a command, or for all of them.')
    .action((names: readonly string[]) => {
      commandAt(program, names).outputHelp();
    });
  // `pcache NONSENSE --help` never comes to the program's action, which would say so.
  program.on('beforeHelp', () => {
    const [name] = program.args;
    if (name !== undefined && name !== 'help' && !name.startsWith('-')) throw unknownCommand(program, name);
  });
}

function commandAt(program: Command, names: readonly string[]): Command {
  let command = program;
  for (const name of names) {
    const next = command.commands.find((each) => each.name() === name);
    if (next === undefined) throw unknownCommand(command, name);
    command = next;
  }
  return command;
}

/** What to say of a name that none of the commands under `parent` has. */
export function unknownCommand(parent: Command, name: string): PcacheError {
  const path = pathOf(parent);
  const names = parent
    .createHelp()
    .visibleCommands(parent)
    .map((each) => each.name());
  const guess = nearest(name, names);
  const help = ['pcache', ...path, '--help'].join(' ');
  const otherwise = names.length === 0 ? `${help} shows how to call it.` : `${help} lists the commands.`;
  return new PcacheError('usage', `${[...path, name].join(' ')}: unknown command`, {
    hint: guess === undefined ? otherwise : `Did you mean ${[...path, guess].join(' ')}?`,
  });
}

/** Without the program's own name. */
function pathOf(command: Command): string[] {
  return command.parent === null ? [] : [...pathOf(command.parent), command.name()];
}
