// Whatever breaks in whichever thread of an engine: another engine goes on, users see no error, and nothing is lost.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FAULT_MESSAGE, type FaultKind } from './faults.js';
import { threeRanges } from '../support/mounted-diary.js';
import { digestOf, waitUntil } from '../support/mounted-commands.js';
import { MIB, mountTest, mounted, type TestGateway } from '../support/mounted.js';
import { Client } from '../fuse/client.js';

const VOLUME_BYTES = 64 * MIB;
const WRITES = 20;
const MISS_BYTES = 64 * 1024;
const main = new URL('./faulty-supervisor-main.js', import.meta.url);

/** Has a fault planted into a thread of the present engine, which serves, and waits until it has a successor. */
async function plant(gateway: TestGateway, thread: string, kind: FaultKind): Promise<void> {
  const { enginePid } = gateway;
  writeFileSync(faultFile(gateway), `${thread} ${kind}\n`);
  process.kill(enginePid, 'SIGUSR2');
  await waitUntil(() => gateway.enginePid !== enginePid, `${thread} ${kind}: another engine is started`);
}

function faultFile(gateway: TestGateway): string {
  return join(gateway.folder, 'fault');
}

/** Reads what was never cached, chunk after chunk, so that the miss workers have work; `stop` says how many calls failed. */
function startMisses(gateway: TestGateway): { stop: () => Promise<unknown[]> } {
  const client = new Client();
  const failures: unknown[] = [];
  let goesOn = true;
  const work = (async () => {
    const fd = await client.call('open', gateway.volume, 0);
    for (let at = VOLUME_BYTES / 2; goesOn; at = at + MISS_BYTES < VOLUME_BYTES ? at + MISS_BYTES : VOLUME_BYTES / 2) {
      await client.call('read', fd, at, MISS_BYTES).catch((error: unknown) => failures.push(error));
    }
    await client.call('close', fd);
  })();
  return {
    stop: async () => {
      goesOn = false;
      await work;
      await client.close();
      return failures;
    },
  };
}

const cases = [
  { what: 'an exception that nobody catches', kind: 'throws', threads: ['queue 0', 'log', 'miss 0', 'write', 'background', 'main'] },
  { what: 'too little memory for a thread', kind: 'exhausts', threads: ['queue 0', 'log', 'write', 'background'] },
  { what: 'a promise that nobody handles, or too little memory for the process', kind: 'rejects', threads: ['main'] },
] as const;

for (const { what, kind, threads } of cases) {
  mountTest(`${what} ends the engine, whichever thread it is in; its users see no error and lose nothing`, undefined, async (t) => {
    const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES, mountOptions: 'workers=2' }, (it) => ({
      main,
      env: { PCACHE_FAULT_FILE: faultFile(it) },
      execArgv: ['--max-old-space-size=192'],
    }));
    const ranges = threeRanges(gateway);
    for (const range of ranges) range.start();
    const misses = startMisses(gateway);
    const planted: [string, FaultKind][] = threads.map((thread) => [thread, kind]);
    if (kind === 'rejects') planted.push(['main', 'exhausts']);
    for (const [thread, fault] of planted) {
      await Promise.all(ranges.map((range) => range.progress(WRITES)));
      await plant(gateway, thread, fault);
    }
    await Promise.all(ranges.map((range) => range.progress(WRITES)));
    for (const range of ranges) await range.stop();
    t.deepEqual(await misses.stop(), []);
    const { engine_restarts, read_errors, write_errors } = await gateway.status();
    t.deepEqual({ engine_restarts, read_errors, write_errors }, { engine_restarts: planted.length, read_errors: 0, write_errors: 0 });
    // What was planted is what they died of; a process that is out of memory can't say so.
    const deaths = gateway
      .log()
      .split('\n')
      .filter((line) => line.includes('the engine died'));
    t.is(deaths.length, planted.length);
    const expected = new RegExp(kind === 'exhausts' ? 'memory limit' : FAULT_MESSAGE);
    for (const line of deaths.slice(0, threads.length)) t.regex(line, expected);
    const client = gateway.client();
    for (const range of ranges) t.is(await range.difference(client), undefined);
    await client.close();
    const shown = await digestOf(gateway.volume, { direct: true });
    await gateway.umount('--flush');
    t.is(await digestOf(gateway.backing), shown);
  });
}
