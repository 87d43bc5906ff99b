// Writes man/pcache.1 from what the commands say of themselves, so that it can't drift from `pcache --help`; only what no command says stands here.
//   node scripts/manual-page.mjs           writes the page
//   node scripts/manual-page.mjs -         prints it
// Needs a build (`dist`, or the folder in PCACHE_BUILD). The page is mdoc; `mandoc -Tlint man/pcache.1` must have nothing to say.
import { writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Lines longer than this are a matter of style to mandoc. */
const COLUMNS = 78;

const HEAD = `.\\" Made by scripts/manual-page.mjs. Change what the commands say, or that script.
.Dd November 26, 2026
.Dt PCACHE 1
.Os
.Sh NAME
.Nm pcache
.Nd write-back cache of fast memory in front of a slow block device`;

const DESCRIPTION = `
A volume is what a
.Em backing device
(a disk, a partition, an image file) and a
.Em cache
(persistent memory, a file on tmpfs or on a fast disk) make together.
.Nm
serves it as one file through FUSE.
Writes are acknowledged when they are in the cache and reach the backing
device later, in order; the backing device is not reformatted.
The cache has the format of Linux's dm-pcache target, see
.Xr pcache-format 5 .
.Pp
An acknowledged write survives the death of the program.
What was written before a flush that returned survives loss of power as far
as the cache device does; on tmpfs it does not.
The backing device alone always holds everything up to some flush, and
nothing but writes of the interval after it.`;

const TAIL = `.Sh CONFIGURATION
.Pa /etc/pcache/NAME.yaml ,
or
.Pa .yml ,
or
.Pa .json ,
says what
.Nm
.Cm mount Ar NAME
and the service
.Pa pcache@NAME
of systemd serve.
NAME stands for its mount point in the other commands.
The keys
.Cm cache ,
.Cm backing
and
.Cm mountpoint
are needed; there may be
.Cm options
(as for
.Fl o ) ,
.Cm metrics_listen ,
.Cm log
and
.Cm log_level .
.Nm
.Cm config init
writes one with comments for all of it.
.Pp
For
.Xr mount 8
and
.Pa /etc/fstab ,
once
.Nm
.Cm config install
was run, the type is fuse.pcache and the source is NAME or CACHE#BACKING; the
options are those of
.Fl o
and
.Cm log= ,
.Cm log_level= ,
.Cm config_dir= .
.Xr umount 8
ends a mount in order too; dirty data stays in the cache unless the mount has
.Cm flush_on_stop .
.Sh ENVIRONMENT
.Bl -tag -width Ds
.It Ev PCACHE_RUNTIME_DIR
The folder of the runtime files, instead of those below.
It must belong to the user and be closed to others.
.It Ev PCACHE_CONFIG_DIR
The folder of configurations, instead of
.Pa /etc/pcache .
.It Ev XDG_RUNTIME_DIR
Where the folder of a user other than root is.
.It Ev XDG_CONFIG_HOME
Where the configurations of a user other than root are, instead of
.Pa ~/.config .
.It Ev NO_COLOR
If not empty, the monitor has no colours.
.Ev TERM ,
.Ev COLORTERM
and the locale say what else the terminal can show.
.El
.Sh FILES
.Bl -tag -width Ds
.It Pa /etc/pcache/NAME.yaml
The configuration of the mount NAME.
A user other than root has their own in
.Pa ~/.config/pcache ,
which come first.
.It Pa /run/pcache , $XDG_RUNTIME_DIR/pcache , /tmp/pcache-UID
Runtime files of root; of another user; of one without that variable.
For each mount point: who serves it, a control socket, and a log, which is
removed after an orderly end and kept after a failure.
.It Pa MOUNTPOINT/volume.img
The volume, if the mount point is a directory.
.It Pa MOUNTPOINT/stats.json , MOUNTPOINT/metrics
Its state, as JSON and for Prometheus.
.It Pa /etc/systemd/system/pcache@.service
The service, and
.Pa /sbin/mount.fuse.pcache , /sbin/umount.fuse.pcache
for
.Xr mount 8
and
.Xr umount 8 ,
as
.Nm
.Cm config install
writes them.
.It Pa CACHE.before-repair-TIME
What a repair has changed, as it was before.
.El
`;

/** Behind the table of exit statuses, which the help of the program has. */
const BEHIND_STATUS = `.Pp
An interrupt (Ctrl-C) is safe at any time: the command says where things
stand and ends by the signal.
Under
.Xr mount 8
the status is 1 for wrong usage and 32 for all else that fails.
.Pp
Errors are one line on the standard error output, and perhaps a second one
with a hint.
What takes longer than a second shows on a terminal how far it is and the
time left; elsewhere it says so every five seconds, on the standard error
output, in a line
.Li "pcache: progress: progress=... done_bytes=N total_bytes=N bytes_per_s=N left_s=N" ,
or as JSON with
.Fl Fl json .`;

const SEE_ALSO = `.Sh SEE ALSO
.Xr pcache-format 5 ,
.Xr dmsetup 8 ,
.Xr losetup 8 ,
.Xr mount 8
.Sh CAVEATS
The backing device must not be written to past the cache, nor be used alone
before
.Nm
.Cm umount Fl Fl flush .
A cache on tmpfs is gone after loss of power, with all that was not written
back.`;

/** The page of a tree of commands (src/cli/command-tree.ts). */
export function manualPage(program) {
  const nodes = withoutGroups(program);
  const { tables, examples } = parts(program.after);
  return [
    HEAD,
    '.Sh SYNOPSIS',
    ...nodes.flatMap(synopsisLines),
    `.Sh DESCRIPTION${DESCRIPTION}`,
    '.Pp',
    'Options that all commands take:',
    ...optionList(program.options),
    '.Sh COMMANDS',
    ...program.commands.flatMap((command) => [command, ...command.commands]).flatMap(commandSection),
    TAIL.trimEnd(),
    '.Sh EXIT STATUS',
    ...tagList(tables.find(({ title }) => title === 'Exit status').rows),
    BEHIND_STATUS,
    '.Sh EXAMPLES',
    ...exampleBlock([...examples, ...nodes.flatMap((node) => parts(node.after).examples)]),
    SEE_ALSO,
    '',
  ].join('\n');
}

/** What can be called: a command that only has sub-commands can't. */
function withoutGroups(program) {
  return program.commands.flatMap((node) => (node.commands.length > 0 ? node.commands : [node]));
}

function synopsisLines({ path, options, arguments: places }) {
  const flags = options.filter(({ long }) => long !== '--help').map((option) => `.Op ${flagText(option)}`);
  return ['.Nm', `.Cm ${path.join(' ')}`, ...flags, ...places.map((place) => `.${argumentText(place)}`)];
}

function flagText({ short, long, valueName }) {
  const flag = short === undefined ? `Fl Fl ${long.slice(2)}` : `Fl ${short.slice(1)}`;
  return valueName === undefined ? flag : `${flag} Ar ${valueName}`;
}

function argumentText({ name, isRequired, isVariadic }) {
  return `${isRequired ? '' : 'Op '}Ar ${name}${isVariadic ? ' ...' : ''}`;
}

function commandSection(node) {
  const { lines, tables } = parts(node.after);
  const options = node.options.filter(({ long }) => long !== '--help');
  return [
    `.Ss ${node.path.join(' ')}`,
    ...textLines(sentence(node.description)),
    ...(node.arguments.length === 0 ? [] : tagList(node.arguments.map((each) => [`Ar ${each.name}`, valueText(each)]))),
    ...(options.length === 0 ? [] : optionList(options)),
    ...lines.flatMap((line) => ['.Pp', ...textLines(sentence(line))]),
    ...tables.flatMap(({ title, rows }) => [
      ...(title === undefined ? [] : ['.Pp', ...textLines(`${title}:`)]),
      ...tagList(rows.map(([term, help]) => [termText(term), help])),
    ]),
  ];
}

function optionList(options) {
  return tagList(
    options.map((option) => {
      const { short, long, valueName } = option;
      const value = valueName === undefined ? '' : ` Ar ${valueName}`;
      return [`${short === undefined ? '' : `Fl ${short.slice(1)}${value} , `}Fl Fl ${long.slice(2)}${value}`, valueText(option)];
    }),
  );
}

function valueText({ description, choices, defaultText }) {
  const one =
    choices === undefined ? '' : ` One of ${choices.join(', ')}${defaultText === undefined ? '' : `; ${defaultText} if not given`}.`;
  return `${sentence(description)}${one}`;
}

/** `transport=a|b` or a plain word, as macros. */
function termText(term) {
  const [name, value] = term.split(/=(.*)/s);
  if (!/^[\w.-]+$/.test(name)) return `Cm ${escapeText(term)}`;
  if (value === undefined) return `Cm ${name}`;
  return `Cm ${name} Ns = Ns Ar ${value}`;
}

function tagList(items) {
  return ['.Bl -tag -width Ds', ...items.flatMap(([term, text]) => [`.It ${term}`, ...textLines(sentence(text))]), '.El'];
}

function exampleBlock(lines) {
  return ['.Bd -literal -compact', ...[...new Set(lines)].map(escapeText), '.Ed'];
}

/**
 * What stands behind the lists of a help: paragraphs, rows of two columns with or without a `Title:`, and `Example:` with command lines.
 */
export function parts(after) {
  const found = { lines: [], tables: [], examples: [] };
  for (const block of after.split(/\n\n+/)) {
    const lines = block.split('\n');
    const [head, ...rest] = lines;
    const isTitled = rest.length > 0 && head.endsWith(':') && rest.every((line) => line.startsWith('  '));
    if (isTitled && /^Examples?:$/.test(head)) found.examples.push(...rest.map((line) => line.trim()));
    else if (isTitled) found.tables.push({ title: head.slice(0, -1), rows: rowsOf(rest) });
    else if (lines.length > 1 && lines.every((line) => /^\S.* {2,}\S|^ {8,}\S/.test(line))) found.tables.push({ rows: rowsOf(lines) });
    else if (block.trim() !== '') found.lines.push(block.replaceAll(/\s+/g, ' ').trim());
  }
  return found;
}

/** Rows of `term  help`, indented or not; a line without a term goes on with the help of the one before. */
function rowsOf(lines) {
  const rows = [];
  for (const line of lines) {
    const match = /^ {0,2}(\S(?:.*?\S)??)(?: {2,}(.*))?$/.exec(line);
    if (match === null) rows.at(-1)[1] += ` ${line.trim()}`;
    else rows.push([match[1], match[2] ?? '']);
  }
  return rows;
}

/** Begins with a capital and ends with a full stop. */
function sentence(text) {
  const trimmed = text.trim();
  if (trimmed === '') return '';
  const begun = /^[a-z]+[ ,:]/.test(trimmed) ? trimmed[0].toUpperCase() + trimmed.slice(1) : trimmed;
  return /[.:]$/.test(begun) ? begun : `${begun}.`;
}

/** Lines of running text: a sentence begins a line, none is too long. */
function textLines(text) {
  return text.split(/(?<=[.?!]) (?=[A-Z])/).flatMap((each) => wrap(escapeText(each)));
}

function wrap(text) {
  const lines = [];
  for (const word of text.split(' ')) {
    const line = lines.at(-1);
    if (line === undefined || line.length + 1 + word.length > COLUMNS) lines.push(word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines.map((line) => (/^[.']/.test(line) ? `\\&${line}` : line));
}

function escapeText(text) {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll(/(^|[\s(=])(--?)(?=\w)/g, (_, before, dashes) => before + dashes.replaceAll('-', '\\-'))
    .replaceAll(/`([^`]+)`/g, '\\fB$1\\fR');
}

async function main() {
  const build = resolve(root, process.env.PCACHE_BUILD ?? 'dist');
  const { readCommandTree } = await import(pathToFileURL(join(build, 'src/cli/command-tree.js')).href);
  const page = manualPage(await readCommandTree());
  if (process.argv[2] === '-') process.stdout.write(page);
  else writeFileSync(join(root, 'man', 'pcache.1'), page);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
