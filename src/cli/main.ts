// From an argument list to an exit status. Everything a user can do wrong ends here as one line on stderr: commander's own findings are
// usage errors like any other. Only the modules of commands that the arguments name are loaded, so `pcache status` starts without FUSE.

import { CommanderError, Option, type Command } from 'commander';
import { PcacheError, messageOf } from '../errors.js';
import { logLevels, type LogLevel } from '../gateway/log-level.js';
import type { CommandContext, GlobalOptions } from './command.js';
import { commandRows } from './commands.js';
import { addHelpCommand, unknownCommand } from './help.js';
import { HelpfulCommand, helpColumns } from './help-text.js';
import { usageWords } from './usage-words.js';
import { Output } from './output.js';
import { packageVersion } from '../gateway/package-version.js';

/** 0 done, 1 failed or problems found, 2 wrong usage. */
export type ExitStatus = 0 | 1 | 2;

/** `args` without interpreter and script. Never rejects. */
export async function main(args: readonly string[]): Promise<ExitStatus> {
  // As it looks before anything is parsed: what is wrong with the arguments is told in the same form as everything else.
  const globals: GlobalOptions = { json: asksForJson(args), quiet: false, logLevel: 'info' };
  const output = new Output(globals);
  const context: CommandContext = { globals, output, exitStatus: 0 };
  try {
    const program = await buildProgram(args, context);
    await program.parseAsync(args, { from: 'user' });
    return context.exitStatus;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const shown = error instanceof CommanderError ? await usageErrorOf(error) : error;
    if (!(shown instanceof HelpShown)) output.error(shown);
    return shown instanceof HelpShown || (shown instanceof PcacheError && shown.code === 'usage') ? 2 : 1;
  }
}

function asksForJson(args: readonly string[]): boolean {
  const end = args.indexOf('--');
  return args.slice(0, end < 0 ? args.length : end).includes('--json');
}

/** The manual page has its table of exit statuses from here too. */
const AFTER = `
Each command has --help of its own; man pcache has all of it.

Exit status:
  0    done, without problems
  1    failed, or problems were found
  2    wrong usage
  130  interrupted (Ctrl-C), as a shell shows it

Results go to stdout, errors and warnings to stderr. A mount logs to a file in /run/pcache (root), $XDG_RUNTIME_DIR/pcache or
/tmp/pcache-UID, which is kept after a failure, or to where --log says.

Example:
  pcache format /fast/cache.pmem --size 8G
  pcache mount /fast/cache.pmem /dev/sdb /mnt/vol
  pcache umount /mnt/vol --flush`;

/** Called without a command: the help is on stderr already. */
class HelpShown extends Error {}

/** Complete but for the commands that `args` does not name. */
export async function buildProgram(args: readonly string[], context: CommandContext): Promise<Command> {
  const { output } = context;
  const program = new HelpfulCommand('pcache');
  program
    .description('A write-back cache of fast memory in front of a slow block device, served as one file.')
    .option('--json', 'print results as JSON, and errors on stderr too')
    .option('--quiet', 'print errors only')
    .addOption(new Option('--log-level <level>', 'how much a mount logs').choices(logLevels).default('info'))
    .version(packageVersion(), '--version', 'print the version')
    .helpOption('--help', 'show help')
    .helpCommand(false)
    // What they take is in their own help.
    .configureHelp({ showGlobalOptions: true, subcommandTerm: (command) => command.name() })
    .configureOutput({
      outputError: () => undefined,
      getOutHelpWidth: () => helpColumns(process.stdout),
      getErrHelpWidth: () => helpColumns(process.stderr),
    })
    .exitOverride()
    .hook('preAction', (_, command) => {
      const options = program.opts<{ json?: true; quiet?: true; logLevel: LogLevel }>();
      context.globals.json = options.json === true;
      context.globals.quiet = options.quiet === true;
      context.globals.logLevel = options.logLevel;
      context.globals.isLogLevelGiven = program.getOptionValueSource('logLevel') === 'cli';
      refuseEmpty(command);
    });
  program.addHelpText('after', AFTER);
  program
    .usage('[options] <command> [arguments]')
    .argument('[command]')
    .allowExcessArguments()
    .action((name: string | undefined) => {
      if (name !== undefined) throw unknownCommand(program, name);
      if (output.json) throw new PcacheError('usage', 'no command is given', { hint: 'pcache --help lists the commands.' });
      program.outputHelp({ error: true });
      throw new HelpShown();
    });
  for (const row of commandRows) {
    const command = program
      .command(row.name, { hidden: row.hidden === true })
      .summary(row.summary)
      .description(row.summary);
    command.helpCommand(false).allowExcessArguments(false);
    if (args.includes(row.name)) (await row.load()).define(command, context);
    nameUsageErrors(command);
  }
  addHelpCommand(program);
  return program;
}

/** `pcache umount "$UNSET"` must not be about the working directory, which is what an empty path would mean. */
function refuseEmpty(command: Command): void {
  const values = [...command.args, ...Object.values<unknown>(command.opts())];
  if (!values.includes('')) return;
  throw new PcacheError('usage', `${command.name()}: an argument is empty`, { hint: 'Is a variable unset?' });
}

/** Lets the errors that commander finds say in which command they were found. */
function nameUsageErrors(command: Command, name = command.name()): void {
  command.exitOverride((error) => {
    throw Object.assign(error, { commandName: name });
  });
  for (const part of command.commands) nameUsageErrors(part, `${name} ${part.name()}`);
}

/** commander's `error: unknown option '--sizee'\n(Did you mean --size?)` as one line and a hint. */
async function usageErrorOf(error: CommanderError & { commandName?: string }): Promise<Error> {
  if (error.code === 'commander.help') return new HelpShown();
  const guess = /\(Did you mean (.*)\?\)/.exec(error.message)?.[1];
  const found = messageOf(error)
    .replace(/^error: /, '')
    .replace(/ ?\(Did you mean .*\?\)/, '')
    .replace(/\.$/, '');
  const command = error.commandName;
  const option = /unknown option '--?([^'=]+)/.exec(found)?.[1];
  const meant = (await mountOptionMeant(command, option)) ?? guess;
  const hint =
    meant === undefined ? `pcache ${command === undefined ? '' : `${command} `}--help shows how to call it.` : `Did you mean ${meant}?`;
  const why = usageWords(found);
  const between = why.endsWith(': unknown command') ? ' ' : ': ';
  return new PcacheError('usage', `${command === undefined ? '' : `${command}${between}`}${why}`, { hint });
}

/** `-o transport=...` for `--transport` or `--transprt`, of the commands that take mount options. */
async function mountOptionMeant(command: string | undefined, option: string | undefined): Promise<string | undefined> {
  if ((command !== 'mount' && command !== 'config init') || option === undefined) return undefined;
  // Loaded only here: few commands know of mount options.
  const [{ mountOptionRows }, { nearest }] = await Promise.all([import('../gateway/mount-options.js'), import('../gateway/nearest.js')]);
  const name = nearest(
    option,
    mountOptionRows.map((row) => row.name),
  );
  if (name === undefined) return undefined;
  return mountOptionRows.find((row) => row.name === name)?.value === undefined ? `-o ${name}` : `-o ${name}=...`;
}
