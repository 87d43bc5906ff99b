// The manual pages: pcache(1) is made from the commands and must be what they say now; pcache-format(5) is written by hand and must have the numbers
// of the program. Both must read well to mandoc.

import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { allNodes } from '../src/cli/completion-values.js';
import { readCommandTree, type CommandNode } from '../src/cli/command-tree.js';
import { mountOptionRows } from '../src/gateway/mount-options.js';
import { CRC_SEED } from '../src/media/crc32c.js';
import { BACKING_IDENTITY_BYTES_MAX, GATEWAY_FORMAT_VERSION, GATEWAY_HEADER_LAYOUT } from '../src/media/gateway-header.js';
import { KSET_MAGIC_HIGH, KSET_MAGIC_LOW } from '../src/media/kset.js';
import * as layout from '../src/media/layout.js';
import { repositoryRoot } from './support/paths.js';

const TIMEOUT_MS = 60_000;
const pages = ['pcache.1', 'pcache-format.5'];

function pathOf(page: string): string {
  return join(repositoryRoot, 'man', page);
}

function textOf(page: string): string {
  return readFileSync(pathOf(page), 'utf8');
}

/** A test that needs a program of the system, or says that it is missing. */
function withProgram(program: string, title: string, body: (t: ExecutionContext) => void | Promise<void>): void {
  const isThere = spawnSync('sh', ['-c', `command -v ${program}`], { timeout: TIMEOUT_MS }).status === 0;
  if (isThere) test(title, body);
  else test.skip(`${title} (skipped: no ${program})`, body);
}

test('pcache(1) is what the commands say of themselves: node scripts/manual-page.mjs makes it again', async (t) => {
  const script = pathToFileURL(join(repositoryRoot, 'scripts', 'manual-page.mjs')).href;
  const { manualPage } = (await import(script)) as { manualPage: (program: CommandNode) => string };
  t.is(textOf('pcache.1'), manualPage(await readCommandTree()));
});

withProgram('mandoc', 'pcache(1) has every command, argument, option and mount option', async (t) => {
  const shown = execFileSync('mandoc', ['-Tascii', pathOf('pcache.1')], { timeout: TIMEOUT_MS, encoding: 'utf8' });
  // Bold is a character printed over itself.
  const text = shown.replaceAll(/.[\b]/gs, '');
  const tree = await readCommandTree();
  for (const node of allNodes(tree)) {
    const name = node.path.join(' ');
    const start = node.path.length === 0 ? 0 : text.indexOf(`\n   ${name}\n`);
    t.not(start, -1, name);
    const section = text.slice(start, node.path.length === 0 ? undefined : sectionEnd(text, start));
    for (const { long, valueName } of node.options.filter((option) => option.long !== '--help')) {
      t.true(section.includes(valueName === undefined ? long : `${long} ${valueName}`), `${name} ${long}`);
    }
    if (node.path.length > 0) for (const argument of node.arguments) t.regex(section, new RegExp(`^ +${argument.name}\\b`, 'm'), name);
  }
  for (const { name } of mountOptionRows) t.regex(text, new RegExp(`^ +${name}(?:=| |$)`, 'm'), name);
});

/** Where the section that begins at `start` ends: at the next line that is indented as its title is, or less. */
function sectionEnd(text: string, start: number): number {
  const next = /\n {0,3}\S/.exec(text.slice(start + 1));
  return next === null ? text.length : start + 1 + next.index;
}

test('pcache-format(5) has the numbers of the program', (t) => {
  const page = textOf('pcache-format.5').replaceAll(/ +/g, ' ');
  const has = (line: string): boolean => t.true(page.includes(`\n${line}`) || page.includes(`\n ${line}`), line);
  const hex = (offset: number): string => `0x${offset.toString(16).padStart(4, '0')}`;
  layout.GATEWAY_HEADER_OFFSETS.forEach((offset, copy) =>
    has(`${hex(offset)} gateway header, copy ${copy} ${layout.GATEWAY_HEADER_BYTES} added`),
  );
  has(`${hex(layout.SUPERBLOCK_OFFSET)} superblock 24`);
  has(`${hex(layout.GATEWAY_BACKUP_OFFSET)} gateway header, backup ${layout.GATEWAY_HEADER_BYTES} added`);
  layout.CACHE_INFO_OFFSETS.forEach((offset, copy) => has(`${hex(offset)} cache_info, copy ${copy} 24`));
  has(`${hex(layout.KEY_TAIL_OFFSETS[0])} key_tail, copies at +0x00 and +0x10, 16 each`);
  has(`${hex(layout.SEGMENTS_OFFSET)} segments, ${layout.SEGMENT_BYTES / 1024 ** 2} MiB each`);
  layout.SEGMENT_INFO_OFFSETS.forEach((offset, copy) => has(`+${hex(offset)} segment_info, copy ${copy}`));
  layout.SEGMENT_GENERATION_OFFSETS.forEach((offset, copy) => has(`+${hex(offset)} generation, copy ${copy}`));
  has(`+${hex(layout.SEGMENT_DATA_OFFSET)} data`);
  has(`4 u32 key_num, ${layout.KSET_KEYS_MAX} at most`);
  has(`${layout.KSET_HEADER_BYTES} keys, ${layout.KEY_BYTES} each`);
  const magic = [KSET_MAGIC_HIGH, KSET_MAGIC_LOW].map((half) => half.toString(16).toUpperCase().padStart(8, '0')).join('');
  has(`8 u64 magic 0x${magic}`);
  t.true(page.includes(`0x${CRC_SEED.toString(16).toUpperCase()}`));
  has(`4 u32 format_version, ${GATEWAY_FORMAT_VERSION};`);
  has(`104 ${BACKING_IDENTITY_BYTES_MAX} backing_identity`);
});

test('pcache-format(5) has every field of the gateway header at its place', (t) => {
  const page = textOf('pcache-format.5');
  const section = page.slice(page.indexOf('.Ss The gateway header'), page.indexOf('.Ss Stamps'));
  const found = [...section.matchAll(/^ *(\d+) {2}\S+ +\S/gm)].map((match) => Number(match[1]));
  const { reserved, ...fields } = GATEWAY_HEADER_LAYOUT;
  t.true(reserved > Math.max(...Object.values(fields)));
  t.deepEqual(found, Object.values(fields));
});

withProgram('mandoc', 'mandoc has nothing to say about the pages', (t) => {
  for (const page of pages) {
    const { stdout, stderr } = spawnSync('mandoc', ['-Tlint', pathOf(page)], { timeout: TIMEOUT_MS, encoding: 'utf8' });
    // Which other pages are installed on this machine, and are in an index, is no fault of this one.
    const lines = `${stdout}${stderr}`
      .split('\n')
      .filter((line) => line !== '' && !/referenced manual not found: Xr |outdated mandoc\.db lacks /.test(line));
    t.deepEqual(lines, [], page);
  }
});

withProgram('man', 'man shows the pages', (t) => {
  for (const page of pages) {
    const { status, stdout, stderr } = spawnSync('man', ['--local-file', '--warnings', pathOf(page)], {
      timeout: TIMEOUT_MS,
      encoding: 'utf8',
      env: { ...process.env, MANPAGER: 'cat', MANWIDTH: '80', LANG: 'C.UTF-8' },
    });
    t.deepEqual([status, stderr], [0, ''], page);
    t.true(stdout.includes('SEE ALSO'), page);
  }
});
