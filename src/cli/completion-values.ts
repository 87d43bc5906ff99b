// What may stand at a place of a command line, for completion: decided by what help calls the argument or the value of an option.

import { mountOptionRows } from '../gateway/mount-options.js';
import type { ArgumentNode, CommandNode, OptionNode } from './command-tree.js';

export type PlaceKind =
  | 'files'
  | 'mounts'
  | 'mounts-or-configs'
  | 'mounts-or-files'
  | 'configs'
  | 'configs-or-files'
  | 'mount-options'
  | 'words'
  | 'words-or-files'
  | 'none';

export interface Place {
  readonly kind: PlaceKind;
  /** Of the kinds `words` and `words-or-files`. */
  readonly words: readonly string[];
}

export interface MountOptionChoice {
  readonly name: string;
  readonly help: string;
  readonly takesValue: boolean;
  /** Empty if its value is a number. */
  readonly values: readonly string[];
}

/** What `pcache message` tunes; it checks its arguments itself, so commander does not know these. */
export const messageNames: readonly string[] = ['gc_percent', 'writeback'];
const writebackOrders: readonly string[] = ['pause', 'resume'];

/** Where a log may go that is no file, as mount-log has it. */
export const logTargets: readonly string[] = ['stderr', 'journal'];

const FILE_VALUE = /^(?:file|path|folder|directory|cache|backing)$/;

export function placeOfArgument({ path, options }: CommandNode, { name, choices }: ArgumentNode): Place {
  if (choices !== undefined) return words(choices);
  if (path[0] === 'message' && name === 'name') return words(messageNames);
  if (path[0] === 'message' && name === 'value') return words(writebackOrders);
  if (path[0] === 'config' && name === 'name') return plain(path[1] === 'init' ? 'none' : 'configs');
  if (path[0] === 'mount' && name === 'cache') return plain('configs-or-files');
  // A volume that is to be mounted is not mounted yet.
  if (path[0] === 'mount' || !name.includes('mountpoint')) return plain('files');
  if (name !== 'mountpoint') return plain('mounts-or-files');
  // Who takes names of configurations says where they are.
  return plain(options.some(({ long }) => long === '--config-dir') ? 'mounts-or-configs' : 'mounts');
}

/** Undefined if the option takes no value. */
export function placeOfOption({ valueName, choices, long }: OptionNode): Place | undefined {
  if (valueName === undefined) return undefined;
  if (choices !== undefined) return words(choices);
  if (long === '--options') return plain('mount-options');
  if (long === '--log') return { kind: 'words-or-files', words: logTargets };
  return plain(FILE_VALUE.test(valueName) ? 'files' : 'none');
}

export function mountOptionChoices(): MountOptionChoice[] {
  return mountOptionRows.map(({ name, value, help }) => ({
    name,
    help,
    takesValue: value !== undefined,
    values: value?.includes('|') === true ? value.split('|') : [],
  }));
}

/** The program and every command and sub-command, each before those below it. */
export function allNodes(node: CommandNode): CommandNode[] {
  return [node, ...node.commands.flatMap(allNodes)];
}

function words(list: readonly string[]): Place {
  return { kind: 'words', words: list };
}

function plain(kind: Exclude<PlaceKind, 'words' | 'words-or-files'>): Place {
  return { kind, words: [] };
}
