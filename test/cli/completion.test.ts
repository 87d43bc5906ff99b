// The completion scripts, run by the shells themselves. Where volumes are mounted comes from a file in the place of the kernel's table, but for one
// test with a real mount. Tests that run the command line in this process are serial: it takes over what is written.

import { execFile, spawnSync } from 'node:child_process';
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import anyTest, { type ExecutionContext } from 'ava';
import { allNodes, logTargets, messageNames } from '../../src/cli/completion-values.js';
import { readCommandTree } from '../../src/cli/command-tree.js';
import { mountLogOf } from '../../src/cli/mount-log.js';
import { mountOptionRows } from '../../src/gateway/mount-options.js';
import { whyNoFuse } from '../fuse/memory-mount.js';
import { FakeGateway, runPcache } from '../gateway/fake-gateway.js';
import { temporaryFolder } from '../support/tmp.js';
import { runMain } from './run-main.js';

type Shell = 'bash' | 'zsh' | 'fish';

interface Setting {
  readonly script: string;
  readonly folder: string;
}

const TIMEOUT_MS = 60_000;

const noFuse = whyNoFuse();
const withFuse: typeof anyTest.serial = noFuse === undefined ? anyTest.serial : (anyTest.skip as typeof anyTest.serial);

/** A test that needs a shell, or says that it is missing. */
function withShell(shell: Shell, title: string, body: (t: ExecutionContext) => Promise<void>): void {
  const isThere = spawnSync(shell, ['-c', 'exit 0'], { timeout: TIMEOUT_MS }).status === 0;
  if (isThere) anyTest.serial(title, body);
  else anyTest.skip(`${title} (skipped: no ${shell})`, body);
}

const MOUNTS = [
  'proc /proc proc rw 0 0',
  '/dev/vda1 /mnt ext4 rw 0 0',
  String.raw`pcache /mnt/two\040words fuse.pcache rw,user_id=0 0 0`,
  'pcache /mnt/vol fuse.pcache rw,user_id=0 0 0',
  'other /mnt/vol2 fuse.other rw 0 0',
  '',
].join('\n');

/** The script in a file, and a folder of files to complete. It reads `MOUNTS`, or the kernel's own table. */
async function makeScript(t: ExecutionContext, shell: Shell, table: 'given' | 'real' = 'given'): Promise<Setting> {
  const { status, stdout, stderr } = await runMain(['completion', shell]);
  t.is(stderr, '');
  t.is(status, 0);
  const folder = temporaryFolder(t);
  const [script, mounts, files] = [join(folder, '_pcache'), join(folder, 'mounts'), join(folder, 'files')] as const;
  t.true(stdout.includes('</proc/self/mounts'));
  writeFileSync(script, table === 'real' ? stdout : stdout.replaceAll('/proc/self/mounts', mounts));
  writeFileSync(mounts, MOUNTS);
  mkdirSync(join(files, 'folder'), { recursive: true });
  for (const name of ['cache.pmem', 'cache two', 'disk.img']) writeFileSync(join(files, name), '');
  mkdirSync(join(folder, 'configurations'));
  for (const name of ['images.yaml', 'builds.json', 'notes.txt']) writeFileSync(join(folder, 'configurations', name), '');
  return { script, folder: files };
}

function run(command: string, args: readonly string[], cwd: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const env = { PATH: process.env.PATH, HOME: cwd, TERM: 'dumb', LANG: 'C.UTF-8', PCACHE_CONFIG_DIR: join(cwd, '..', 'configurations') };
    execFile(command, args, { cwd, env, timeout: TIMEOUT_MS, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      if (error === null && stderr === '') resolve(stdout);
      else reject(new Error(`${command}: ${error?.message ?? ''}\n${stdout}\n${stderr}`));
    });
  });
}

/** What bash would offer for these words, of which the last is being typed; words as readline splits them. */
async function inBash(at: Setting, ...words: string[]): Promise<string[]> {
  const program = `
    source "$1"; shift
    COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=\${#COMP_LINE}
    _pcache pcache "\${COMP_WORDS[COMP_CWORD]}" "\${COMP_WORDS[COMP_CWORD-1]}"
    if ((\${#COMPREPLY[@]})); then printf '%s\\n' "\${COMPREPLY[@]}"; fi`;
  const stdout = await run('bash', ['--norc', '--noprofile', '-c', program, 'bash', at.script, 'pcache', ...words], at.folder);
  return stdout.split('\n').filter((line) => line !== '');
}

/** What fish would offer at the end of this line. */
async function inFish(at: Setting, line: string): Promise<string[]> {
  const stdout = await run('fish', ['--no-config', '-c', 'source $argv[1]; complete -C $argv[2]', at.script, line], at.folder);
  return stdout
    .split('\n')
    .filter((each) => each !== '')
    .map((each) => each.split('\t')[0]!)
    .sort();
}

/** What zsh makes of each line when the tabulator is pressed at its end. Only what is unique is filled in, so it is what the line becomes. */
async function inZsh(at: Setting, lines: readonly string[]): Promise<string[]> {
  const program = String.raw`
    zmodload zsh/zpty
    script=$1; shift
    zpty shell zsh -f -i
    zpty -w shell "PROMPT=; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -D -u; source $script"
    zpty -w shell 'show() { print -r -- "<<$BUFFER>>"; BUFFER=; zle accept-line }; zle -N show; bindkey "^X" show; print READ"Y"'
    zpty -r shell text '*READY*'
    for line in "$@"; do
      zpty -w -n shell "$line"$'\t\x18'
      zpty -r shell text '*<<*>>*'
      print -r -- "$text"
    done
    zpty -d shell`;
  const stdout = await run('zsh', ['-f', '-c', program, 'zsh', at.script, ...lines], at.folder);
  return [...stdout.matchAll(/<<(.*?)>>/gs)].map((match) => match[1]!.trimEnd());
}

withShell('bash', 'bash completes commands, and options of a command and of all', async (t) => {
  const at = await makeScript(t, 'bash');
  const tree = await readCommandTree();
  t.deepEqual(await inBash(at, ''), [...tree.commands.map(({ path }) => path[0]!), 'help']);
  t.deepEqual(await inBash(at, 'help', 'um'), ['umount']);
  t.deepEqual(await inBash(at, 'um'), ['umount']);
  t.deepEqual(await inBash(at, 'loop', ''), ['attach', 'detach']);
  t.deepEqual(await inBash(at, 'format', '--d'), ['--data-crc']);
  t.deepEqual(await inBash(at, '--js'), ['--json']);
  for (const node of allNodes(tree)) {
    const offered = await inBash(at, ...node.path, '-');
    for (const { long, short } of [...node.options, ...tree.options]) {
      for (const flag of [long, short ?? long]) t.true(offered.includes(flag), `${node.path.join(' ')} ${flag}`);
    }
  }
});

withShell('bash', 'bash completes values of options, and knows where an argument stands behind them', async (t) => {
  const at = await makeScript(t, 'bash');
  t.deepEqual(await inBash(at, '--log-level', 'd'), ['debug']);
  t.deepEqual(await inBash(at, '--log-level', '=', 'd'), ['debug']);
  t.deepEqual(await inBash(at, '--log-level', 'debug', 'um'), ['umount']);
  t.deepEqual(await inBash(at, 'status', '--log-level', 'debug', '/mnt/v'), ['/mnt/vol']);
  t.deepEqual(await inBash(at, 'format', '--size', ''), []);
  t.deepEqual((await inBash(at, 'mount', '--log', '')).sort(), ['cache two', 'cache.pmem', 'disk.img', 'folder', 'journal', 'stderr']);
  t.deepEqual(await inBash(at, 'mount', '--log', 'j'), ['journal']);
  t.deepEqual(await inBash(at, 'mount', '--log', '=', 'std'), ['stderr']);
  t.deepEqual(await inBash(at, 'mount', '--log', 'disk'), ['disk.img']);
  t.deepEqual(await inBash(at, 'completion', ''), ['bash', 'zsh', 'fish']);
  t.deepEqual(await inBash(at, 'completion', 'bash', ''), []);
  t.deepEqual(await inBash(at, 'message', '/mnt/vol', ''), ['gc_percent', 'writeback']);
  t.deepEqual(await inBash(at, 'message', '/mnt/vol', 'writeback', 'p'), ['pause']);
});

withShell('bash', 'bash completes mount options one by one, and the values of transport', async (t) => {
  const at = await makeScript(t, 'bash');
  const names = await inBash(at, 'mount', '-o', '');
  t.deepEqual(
    names.map((name) => name.replace('=', '')),
    mountOptionRows.map(({ name }) => name),
  );
  t.deepEqual(await inBash(at, 'mount', '-o', 'tr'), ['transport=']);
  t.deepEqual(await inBash(at, 'mount', '-o', 'transport', '='), ['dev-fuse', 'io-uring', 'libfuse']);
  t.deepEqual(await inBash(at, 'mount', '-o', 'transport', '=', 'io'), ['io-uring']);
  t.deepEqual(await inBash(at, 'mount', 'a', '-o', 'workers', '=', '2,tr'), ['2,transport=']);
  t.deepEqual(await inBash(at, 'mount', 'a', '-o', 'workers', '=', '2,transport', '=', 'l'), ['libfuse']);
});

withShell('bash', 'bash completes where volumes are mounted, blanks and all', async (t) => {
  const at = await makeScript(t, 'bash');
  t.deepEqual(await inBash(at, 'message', '/'), ['/mnt/two words', '/mnt/vol']);
  for (const command of ['umount', 'flush', 'loop attach', 'loop detach']) {
    t.deepEqual(await inBash(at, ...command.split(' '), '/'), ['/mnt/two words', '/mnt/vol'], command);
  }
  t.deepEqual((await inBash(at, 'status', '')).sort(), ['/mnt/two words', '/mnt/vol', 'cache two', 'cache.pmem', 'disk.img', 'folder']);
  t.deepEqual(await inBash(at, 'umount', String.raw`/mnt/two\ `), ['/mnt/two words']);
  t.deepEqual(await inBash(at, 'umount', '/mnt/vol', ''), []);
});

withShell('bash', 'bash completes names of configurations where one can be mounted, or stands for a mount', async (t) => {
  const at = await makeScript(t, 'bash');
  for (const command of ['umount', 'flush', 'message', 'monitor', 'loop attach', 'loop detach']) {
    const offered = await inBash(at, ...command.split(' '), '');
    t.deepEqual(offered.sort(), ['/mnt/two words', '/mnt/vol', 'builds', 'images'], command);
  }
  t.deepEqual((await inBash(at, 'mount', '')).sort(), ['builds', 'cache two', 'cache.pmem', 'disk.img', 'folder', 'images']);
  t.deepEqual(await inBash(at, 'mount', 'im'), ['images']);
  t.deepEqual(await inBash(at, 'mount', 'cache.pmem', 'im'), []);
});

/** Mounts a volume on the folder of the files. */
function mountFolder({ folder }: Setting): string {
  const mountpoint = join(folder, 'folder');
  appendFileSync(join(folder, '..', 'mounts'), `pcache ${mountpoint} fuse.pcache rw 0 0\n`);
  return mountpoint;
}

withShell('bash', 'bash offers a mount point once where files are offered too', async (t) => {
  const at = await makeScript(t, 'bash');
  const mountpoint = mountFolder(at);
  t.deepEqual(await inBash(at, 'status', `${at.folder}/fo`), [mountpoint]);
  t.deepEqual(await inBash(at, 'umount', `${at.folder}/`), [mountpoint]);
});

withShell('zsh', 'zsh offers a mount point once where files are offered too', async (t) => {
  const at = await makeScript(t, 'zsh');
  const mountpoint = mountFolder(at);
  const lines = [`pcache status ${at.folder}/fo`, 'pcache status /mnt/v', `pcache umount ${at.folder}/`];
  t.deepEqual(await inZsh(at, lines), [`pcache status ${mountpoint}/`, 'pcache status /mnt/vol', `pcache umount ${mountpoint}`]);
});

withShell('fish', 'fish offers a mount point once where files are offered too', async (t) => {
  const at = await makeScript(t, 'fish');
  const mountpoint = mountFolder(at);
  t.deepEqual(await inFish(at, `pcache status ${at.folder}/fo`), [`${mountpoint}/`]);
  t.deepEqual(await inFish(at, 'pcache status /mnt/v'), ['/mnt/vol']);
  t.deepEqual(await inFish(at, `pcache umount ${at.folder}/`), [mountpoint]);
});

const noShellcheck = spawnSync('shellcheck', ['--version'], { timeout: TIMEOUT_MS }).status !== 0;
(noShellcheck ? anyTest.skip : anyTest.serial)(
  `shellcheck has nothing to say${noShellcheck ? ' (skipped: no shellcheck)' : ''}`,
  async (t) => {
    const at = await makeScript(t, 'bash', 'real');
    t.is(await run('shellcheck', ['--shell=bash', at.script], at.folder), '');
  },
);

withFuse(`bash completes a real mount${noFuse === undefined ? '' : ` (skipped: ${noFuse})`}`, async (t) => {
  const gateway = await FakeGateway.serving(t);
  const at = await makeScript(t, 'bash', 'real');
  t.true((await inBash(at, 'umount', '')).includes(gateway.mountpoint));
});

withShell('zsh', 'zsh takes the script and completes commands, options, mount options, mounts and files', async (t) => {
  const at = await makeScript(t, 'zsh');
  const ends: [string, string][] = [
    ['pcache umo', 'pcache umount'],
    ['pcache loop at', 'pcache loop attach'],
    ['pcache format --da', 'pcache format --data-crc'],
    ['pcache --log-level de', 'pcache --log-level debug'],
    ['pcache umount /mnt/v', 'pcache umount /mnt/vol'],
    ['pcache umount /mnt/t', String.raw`pcache umount /mnt/two\ words`],
    ['pcache mount -o transport=i', 'pcache mount -o transport=io-uring,'],
    ['pcache mount -o workers=2,transp', 'pcache mount -o workers=2,transport='],
    ['pcache completion f', 'pcache completion fish'],
    ['pcache check disk', 'pcache check disk.img'],
    ['pcache mount --log jou', 'pcache mount --log journal'],
    ['pcache mount --log=std', 'pcache mount --log=stderr'],
    ['pcache mount --log disk', 'pcache mount --log disk.img'],
    ['pcache mount im', 'pcache mount images'],
    ['pcache umount im', 'pcache umount images'],
    ['pcache he', 'pcache help'],
    ['pcache help um', 'pcache help umount'],
  ];
  const found = await inZsh(
    at,
    ends.map(([line]) => line),
  );
  t.deepEqual(
    found,
    ends.map(([, end]) => end),
  );
});

anyTest.serial('the script for zsh names every option of every command', async (t) => {
  const { stdout } = await runMain(['completion', 'zsh']);
  const tree = await readCommandTree();
  for (const { path, options, commands } of allNodes(tree)) {
    const body = new RegExp(`^${['_pcache', ...path].join('_')}\\(\\) \\{\\n([^]*?)^\\}`, 'm').exec(stdout)?.[1];
    for (const { long, short } of commands.length > 0 ? [] : [...options, ...tree.options]) {
      for (const flag of [long, short ?? long]) t.regex(body ?? '', new RegExp(`^ *'\\*?${flag}=?\\[`, 'm'), `${path.join(' ')} ${flag}`);
    }
  }
});

withShell('fish', 'fish takes the script and completes commands, options, mount options, mounts and files', async (t) => {
  const at = await makeScript(t, 'fish');
  const tree = await readCommandTree();
  t.deepEqual(await inFish(at, 'pcache '), [...tree.commands.map(({ path }) => path[0]!), 'help'].sort());
  t.deepEqual(await inFish(at, 'pcache help um'), ['umount']);
  t.deepEqual(await inFish(at, 'pcache loop '), ['attach', 'detach']);
  t.deepEqual(await inFish(at, 'pcache --log-level de'), ['debug']);
  t.deepEqual(await inFish(at, 'pcache --log-level debug umo'), ['umount']);
  t.deepEqual(await inFish(at, 'pcache umount '), ['/mnt/two words', '/mnt/vol', 'builds', 'images']);
  t.deepEqual(await inFish(at, 'pcache loop detach /mnt/v'), ['/mnt/vol']);
  t.deepEqual(await inFish(at, 'pcache mount -o transport=i'), ['transport=io-uring']);
  t.deepEqual(await inFish(at, 'pcache mount -o workers=2,ro'), ['workers=2,ro']);
  t.deepEqual(await inFish(at, 'pcache completion '), ['bash', 'fish', 'zsh']);
  t.deepEqual(await inFish(at, 'pcache check disk'), ['disk.img']);
  t.deepEqual(await inFish(at, 'pcache mount i'), ['images']);
  t.deepEqual(await inFish(at, 'pcache mount --log j'), ['journal']);
  t.deepEqual(await inFish(at, 'pcache mount --log std'), ['stderr']);
  t.deepEqual(await inFish(at, 'pcache mount --log disk'), ['disk.img']);
  t.deepEqual(await inFish(at, 'pcache check --back'), ['--backing', '--backup']);
  for (const node of allNodes(tree)) {
    const offered = await inFish(at, ['pcache', ...node.path, '-'].join(' '));
    for (const { long } of [...node.options, ...tree.options]) t.true(offered.includes(long), `${node.path.join(' ')} ${long}`);
  }
});

anyTest('the places of a log that completion offers are those that mount takes for no file', (t) => {
  t.deepEqual(
    logTargets.map((word) => mountLogOf(word, '/mnt/vol', '/own', { isForeground: false, json: false }).target.kind),
    ['stderr', 'journal'],
  );
});

anyTest('what completion offers to tune is what message takes', async (t) => {
  for (const name of messageNames) {
    const { stderr } = await runPcache(['message', '/nowhere', name, 'nonsense']);
    t.notRegex(stderr, /unknown/, name);
  }
  t.regex((await runPcache(['message', '/nowhere', 'speed', 'nonsense'])).stderr, /unknown/);
});

anyTest.serial('completion of a shell that is not known is wrong usage', async (t) => {
  const { status, stderr } = await runMain(['completion', 'tcsh']);
  t.is(status, 2);
  t.regex(stderr, /tcsh.*bash, zsh, fish/);
});
