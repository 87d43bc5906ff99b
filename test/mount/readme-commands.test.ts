// No command in the README is without a test that runs it: blocks of shell code are run by readme.test.ts, line by line; commands in running text are in the
// table below, with the place that runs them. A new one that is neither fails here.

import test from 'ava';
import { allNodes } from '../../src/cli/completion-values.js';
import { readCommandTree } from '../../src/cli/command-tree.js';
import { inlineCode, readDocument } from '../docs/shell-blocks.js';
import { BLOCKS, adapted, linesOf, strangeBlocks, type BlockName } from './readme-session.js';

const readme = readDocument('README.md');
const names = Object.keys(BLOCKS) as BlockName[];

test('every block of shell code in the README is run by a test, and what is left out of it is nothing', (t) => {
  t.deepEqual(strangeBlocks(readme), []);
  const sessions = readDocument('test/mount/readme.test.ts');
  for (const name of names) {
    t.true(sessions.includes(`adapted(linesOf('${name}'))`), name);
    t.is(adapted(linesOf(name)).length, linesOf(name).length);
  }
});

test('a block in the README that no test knows is noticed, and so is one that is gone', (t) => {
  t.is(strangeBlocks(`${readme}\n\`\`\`sh\npcache status\n\`\`\`\n`).length, 1);
  t.is(strangeBlocks(`${readme}\n\`\`\`console\n$ pcache status\n\`\`\`\n`).length, 1);
  const [lost, strange, ...more] = strangeBlocks(readme.replaceAll('pcache recover', 'pcache recove'));
  t.is(lost, 'recover: 0 blocks');
  t.regex(strange ?? '', /^line \d+: no test runs this block$/);
  t.deepEqual(more, []);
});

test('a line that would touch a device of the machine is not run', (t) => {
  for (const line of ['mkfs.ext4 /dev/sdb', 'pcache format "/dev/pmem0"', 'dd of=/dev/sda', 'pcache umount vol >/tmp/log']) {
    t.throws(() => adapted([line]), { message: /is no path for a test/ }, line);
  }
  t.notThrows(() => adapted(['cp -r /etc mnt']));
});

/** Where a command that stands in running text is run, as text that must be there. */
interface Witness {
  readonly file: string;
  readonly has: string;
  /** Why it is not run as it stands. */
  readonly why: string;
}

const torture: Witness = {
  file: 'test/torture/torture.test.ts',
  has: "torture(['--minutes', '0.02', '--seed', '9'",
  why: 'takes minutes; run for a second, with the same options',
};
const session = (has: string): Witness => ({ file: 'README.md', has: `\n${has}`, why: 'part of a block, which is run' });

const inRunningText: Readonly<Record<string, Witness>> = {
  'npm test': { file: '.ci/run', has: '\nnpm test\n', why: 'it is what runs this test' },
  'npm run torture': torture,
  'npm run torture -- --minutes 3 --seed 1': torture,
  'npm run bench -- --quick': {
    file: 'test/mount/readme.test.ts',
    has: "'--quick', '--rounds', '1', '--seconds', '0.02', '--only', 'dev-fuse'",
    why: 'takes minutes; run with the shortest tests, on the gateway alone',
  },
  'pcache umount --flush': session('pcache umount vol --flush'),
  'man pcache': {
    file: 'test/manual-pages.test.ts',
    has: 'pcache.1',
    why: 'a pager; that the page is installed is seen by readme.test.ts',
  },
};

test('every command in the running text of the README is run somewhere', (t) => {
  const found = [...new Set(inlineCode(readme).filter((code) => /^(?:npm|npx|pcache|man|node|sudo|systemctl|git) /.test(code)))];
  t.deepEqual(found.toSorted(), Object.keys(inRunningText).toSorted());
  for (const [command, { file, has }] of Object.entries(inRunningText))
    t.true(readDocument(file).includes(has), `${command}: not in ${file}`);
});

test('npm test and npm run demo install and build what they run, as CI does it on a fresh clone', (t) => {
  const { scripts } = JSON.parse(readDocument('package.json')) as { scripts: Readonly<Record<string, string>> };
  t.is(scripts.demo, 'npm run --silent build && node dist/bin/pcache.js demo');
  for (const name of ['test', 'demo', 'bench', 'torture']) t.true(scripts[name]?.startsWith('npm run --silent build && '), name);
  t.true(scripts.build?.startsWith('node scripts/ensure-installed.mjs && '));
  t.true(readDocument('scripts/ensure-installed.mjs').includes("spawnSync('npm', ['ci'"));
});

/** The commands in the first column of the README's table, each as its words. */
function tableRows(): string[][] {
  const table = readme.split('\n## ').find((section) => section.startsWith('Commands\n'))!;
  return [...table.matchAll(/^\| (`.*?) \|/gm)].flatMap(([, cell]) => inlineCode(cell!).map((code) => code.split(' ')));
}

test('the table of commands in the README has every command, and only options that there are', async (t) => {
  const tree = await readCommandTree();
  const rows = tableRows();
  t.deepEqual([...new Set(rows.map(([name]) => name))].toSorted(), tree.commands.map(({ path }) => path[0]).toSorted());
  for (const words of rows) {
    const path = words.filter((word) => /^[a-z]/.test(word));
    const node = allNodes(tree).find((each) => each.path.join(' ') === path.join(' '));
    t.truthy(node, words.join(' '));
    const options = words.map((word) => word.replaceAll(/[[\]]/g, '')).filter((word) => word.startsWith('--'));
    for (const option of options)
      t.true(
        node?.options.some(({ long }) => long === option),
        `${words.join(' ')}: ${option}`,
      );
  }
});
