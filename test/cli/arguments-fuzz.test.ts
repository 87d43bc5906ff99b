// Argument lists that nobody would type, in this process: whatever they are, `main` ends with 0, 1 or 2, says what is wrong in one line and perhaps
// a hint, and changes nothing in the folder that they are about. PCACHE_SEED chooses other runs.

import { writeFileSync } from 'node:fs';
import test from 'ava';
import fc from 'fast-check';
import { CACHE, argumentLists, enterFolder, faultOf, forms, stateOf } from './argument-lists.js';
import { hashOf } from './offline-support.js';
import { runMain } from './run-main.js';

const seed = Number(process.env.PCACHE_SEED ?? 1);

test.serial('whatever the arguments are, they are done or refused in one line, and nothing is changed', async (t) => {
  t.log(`seed ${seed}`);
  const folder = enterFolder(t);
  const [stateBefore, hashBefore] = [stateOf(folder), hashOf(CACHE)];
  const statuses = new Map<number, number>();
  // The check ends at its time, whatever is under way then.
  let last: Promise<unknown> = Promise.resolve();
  const property = fc.asyncProperty(argumentLists, async (args) => {
    const running = runMain(args);
    last = running;
    const ended = await running;
    const fault = faultOf(ended, args);
    if (fault !== undefined) throw new Error(`${fault}: ${JSON.stringify(ended).slice(0, 2000)}`);
    if (stateOf(folder) !== stateBefore) throw new Error(`changed the folder: ${stateOf(folder)}`);
    statuses.set(ended.status, (statuses.get(ended.status) ?? 0) + 1);
  });
  const result = await fc.check(property, { seed, numRuns: 2500, interruptAfterTimeLimit: 14_000 });
  await last;
  t.false(result.failed, `${JSON.stringify(result.counterexample)}: ${String(result.errorInstance)}`);
  t.is(hashOf(CACHE), hashBefore);
  t.log(`statuses: ${JSON.stringify(Object.fromEntries(statuses))}`);
  for (const status of [0, 1, 2]) t.true((statuses.get(status) ?? 0) > 50, `status ${status}`);
});

test.serial('an empty path is wrong usage, and never the working directory', async (t) => {
  const folder = enterFolder(t);
  const before = stateOf(folder);
  for (const form of forms.filter((each) => each.includes('P'))) {
    const places = form.replaceAll(/ ?\[.*?\]/g, '').split(' ');
    if (form.includes('[P]')) places.push('P');
    for (const [at, place] of places.entries()) {
      if (place !== 'P') continue;
      const args = places.map((each, index) => (index === at ? '' : each === 'P' ? 'missing' : each === 'T' ? '50' : each));
      const { status, stdout, stderr } = await runMain(args);
      t.deepEqual([status, stdout], [2, ''], form);
      t.regex(stderr, /^pcache: [a-z]+: an argument is empty\nhint: Is a variable unset\?\n$/, form);
    }
  }
  t.is(stateOf(folder), before);
});

test.serial('names that would break the line or give the terminal orders are shown as what they are', async (t) => {
  enterFolder(t);
  t.deepEqual(await runMain(['format', 'two\nlines']), {
    status: 1,
    stdout: '',
    stderr: 'pcache: two\\x0alines: does not exist, and no --size is given\nhint: pcache format two\\x0alines --size 8G creates it.\n',
  });
  t.is((await runMain(['check', '\u001b[2J\r\u009b'])).stderr, 'pcache: \\x1b[2J\\x0d\\x9b: no such file or directory (ENOENT)\n');
  const cache = 'two\nlines\u001b[31m';
  const shown = String.raw`two\x0alines\x1b[31m`;
  const made = await runMain(['format', cache, '--size', '96M']);
  t.regex(made.stdout, /^\S+: an empty cache of [^\n]+\n$/);
  t.true(made.stdout.startsWith(shown));
  t.true((await runMain(['check', cache])).stdout.startsWith(`${shown}: no problems found`));
  t.true((await runMain(['dump', cache])).stdout.startsWith(`cache        ${shown}, 96 MiB\n`));
  writeFileSync('b\n\u001b[2J', new Uint8Array(512));
  t.deepEqual(await runMain(['recover', cache, 'b\n\u001b[2J']), {
    status: 0,
    stdout: `${shown}: nothing was dirty: b\\x0a\\x1b[2J has everything\n`,
    stderr: '',
  });
  const { stderr } = await runMain(['--json', 'check', `no ${cache}`]);
  t.notRegex(stderr.trimEnd(), /\p{Cc}/u);
  t.true((JSON.parse(stderr) as { error: { message: string } }).error.message.startsWith(`no ${cache}: `));
});
