// What a command is: a module with `define`, which adds arguments, options, an example and an action to a commander Command. The action does
// the work, says it through `context.output`, sets `context.exitStatus` if it found problems, and throws PcacheError for everything else.

import type { Command } from 'commander';
import type { LogLevel } from '../gateway/log-level.js';
import type { Output } from './output.js';

export interface GlobalOptions {
  json: boolean;
  quiet: boolean;
  logLevel: LogLevel;
  /** Whether the command line says it; otherwise a configuration may. */
  isLogLevelGiven?: boolean;
}

export interface CommandContext {
  /** Complete when an action runs, not while commands are defined. */
  readonly globals: GlobalOptions;
  readonly output: Output;
  /** 0 done; 1 problems found, which an action sets after it has said what they are. */
  exitStatus: 0 | 1;
}

export interface CommandModule {
  define(command: Command, context: CommandContext): void;
}

/** Adds the example with which every command's help ends. */
export function addExample(command: Command, ...lines: string[]): void {
  command.addHelpText('after', `\nExample:\n${lines.map((line) => `  ${line}`).join('\n')}`);
}
