// What a service manager hears of a mount, with an engine that is a function.

import { join } from 'node:path';
import { mock } from 'node:test';
import test, { type ExecutionContext } from 'ava';
import pino from 'pino';
import { PcacheError } from '../../src/errors.js';
import { ServiceNotifier, type AskStatus } from '../../src/gateway/service-notifier.js';
import { DatagramReceiver } from '../support/datagram-receiver.js';
import { temporaryFolder } from '../support/tmp.js';
import { waitFor } from './fake-gateway.js';

const serving: AskStatus = () => Promise.resolve({ state: 'serving', dirty_bytes: 3 * 1024 ** 2, last_error: null });
const silent: AskStatus = (timeoutMs) =>
  new Promise((_, reject) =>
    setTimeout(() => reject(new PcacheError('closed', `status: no answer within ${timeoutMs / 1000} s`)), timeoutMs),
  );
const nobody: AskStatus = () => Promise.reject(new PcacheError('closed', '/run/x.sock: no gateway answers'));

interface Rig {
  readonly receiver: DatagramReceiver;
  readonly notifier: ServiceNotifier;
  /** How often an engine was to be replaced. */
  replaced: number;
  ask: AskStatus;
}

function makeRig(t: ExecutionContext, { watchdogUs, socket }: { watchdogUs?: number; socket?: string } = {}): Rig {
  const receiver = new DatagramReceiver(t, socket ?? join(temporaryFolder(t), 'notify'));
  const rig: Rig = {
    receiver,
    replaced: 0,
    ask: serving,
    notifier: new ServiceNotifier(
      { socket: receiver.name, watchdogUs },
      {
        ask: (timeoutMs) => rig.ask(timeoutMs),
        replaceHungEngine: () => {
          rig.replaced++;
          return true;
        },
        log: pino({ level: 'silent' }),
      },
    ),
  };
  t.teardown(() => rig.notifier.end());
  return rig;
}

function keepAlives({ receiver }: Rig): number {
  return receiver.lines.filter((line) => line === 'WATCHDOG=1').length;
}

for (const [kind, socketOf] of [
  ['a path', () => undefined],
  ['an abstract name', () => `@pcache-test-${process.pid}`],
] as const) {
  test(`the socket at ${kind} hears that the volume is ready, by whom, and how it is`, async (t) => {
    const rig = makeRig(t, { ...(socketOf() === undefined ? {} : { socket: socketOf()! }) });
    rig.notifier.ready();
    t.is(rig.receiver.take()[0], `READY=1\nMAINPID=${process.pid}\nSTATUS=serving`);
    await waitFor(() => rig.receiver.lines.includes('STATUS=serving, 3.0 MiB dirty'), 'the status is told');
    t.is(keepAlives(rig), 0);
  });
}

test('the state is told when it changes only', async (t) => {
  const rig = makeRig(t, { watchdogUs: 80_000 });
  rig.notifier.ready();
  await waitFor(() => keepAlives(rig) > 3, 'some time has gone by');
  t.is(rig.receiver.lines.filter((line) => line === 'STATUS=serving, 3.0 MiB dirty').length, 1);
  const lastError = { message: '/dev/sdb: EIO', since_ms: 1, device: 'backing' } as const;
  rig.ask = () => Promise.resolve({ state: 'backing-error', dirty_bytes: 5 * 1024 ** 3, last_error: lastError });
  await waitFor(() => rig.receiver.lines.includes('STATUS=backing-error, 5.0 GiB dirty: /dev/sdb: EIO'), 'the error is told');
});

test('an engine that answers is kept alive, one that hangs is replaced once and not, until it answers again', async (t) => {
  const rig = makeRig(t, { watchdogUs: 120_000 });
  rig.notifier.ready();
  await waitFor(() => keepAlives(rig) >= 2, 'keep-alives come');
  rig.ask = silent;
  await waitFor(() => rig.replaced === 1, 'the hanging engine is to be replaced');
  const before = keepAlives(rig);
  t.true(rig.receiver.lines.includes('STATUS=the engine gives no answer'));
  let probes = 0;
  rig.ask = (timeoutMs) => {
    probes++;
    return silent(timeoutMs);
  };
  await waitFor(() => probes > 4, 'it goes on hanging');
  t.is(keepAlives(rig), before);
  t.is(rig.replaced, 1);
  rig.ask = serving;
  await waitFor(() => keepAlives(rig) > before, 'keep-alives come again');
});

for (const watchdogMs of [1000, 4000, 120_000]) {
  test.serial(`an engine that hangs is replaced before a watchdog of ${watchdogMs} ms fires, whenever it falls silent`, async (t) => {
    const clock = mock.timers;
    clock.enable({ apis: ['setTimeout'] });
    t.teardown(() => clock.reset());
    let nowMs = 1000;
    const now = mock.method(performance, 'now', () => nowMs);
    t.teardown(() => now.mock.restore());
    const stepMs = watchdogMs / 200;
    const turn = async (): Promise<void> => {
      nowMs += stepMs;
      clock.tick(stepMs);
      // What a timer has set off goes on in microtasks.
      for (let at = 0; at < 20; at++) await Promise.resolve();
    };
    // A hang may begin at any time between two keep-alives.
    for (let offsetSteps = 0; offsetSteps < 60; offsetSteps += 3) {
      const rig = makeRig(t, { watchdogUs: watchdogMs * 1000 });
      let aliveMs = nowMs;
      let seen = 0;
      let worstMs = 0;
      const look = (): void => {
        if (keepAlives(rig) > seen) aliveMs = nowMs;
        seen = keepAlives(rig);
        worstMs = Math.max(worstMs, nowMs - aliveMs);
      };
      rig.notifier.ready();
      for (let step = 0; step < 100 + offsetSteps; step++) {
        await turn();
        look();
      }
      t.true(seen > 0);
      rig.ask = silent;
      for (let step = 0; step < 400 && rig.replaced === 0; step++) {
        await turn();
        look();
      }
      t.is(rig.replaced, 1);
      t.true(worstMs < 0.75 * watchdogMs, `${worstMs} ms without keep-alive`);
      rig.notifier.end();
    }
  });
}

test('an engine that is being started again is no hang', async (t) => {
  const rig = makeRig(t, { watchdogUs: 80_000 });
  rig.ask = nobody;
  rig.notifier.ready();
  await waitFor(() => keepAlives(rig) >= 3, 'keep-alives come');
  t.true(rig.receiver.lines.includes('STATUS=the engine is being started again'));
  t.is(rig.replaced, 0);
});

test('a stop says what it waits for, and asks for time as long as a flush gets on', async (t) => {
  const rig = makeRig(t);
  rig.notifier.ready();
  await waitFor(() => rig.receiver.lines.includes('STATUS=serving, 3.0 MiB dirty'), 'the status is told');
  rig.notifier.busy('qemu (17)');
  rig.notifier.stopping();
  rig.notifier.flushing(2 * 1024 ** 3);
  rig.notifier.flushing(2 * 1024 ** 3);
  t.deepEqual(rig.receiver.take().slice(2), [
    'STATUS=in use by qemu (17): still serving until they are gone',
    'STOPPING=1\nSTATUS=unmounted, closing the log',
    'EXTEND_TIMEOUT_USEC=60000000\nSTATUS=writing back before the end, 2.0 GiB left',
  ]);
});

test('a socket that is not there, or is no address, disturbs nobody', (t) => {
  const warnings: string[] = [];
  const log = pino({ level: 'warn' }, { write: (line: string) => warnings.push(line) });
  for (const socket of [join(temporaryFolder(t), 'gone'), 'nonsense', `/${'x'.repeat(200)}`]) {
    const notifier = new ServiceNotifier({ socket, watchdogUs: undefined }, { ask: serving, replaceHungEngine: () => false, log });
    t.notThrows(() => {
      notifier.ready();
      notifier.stopping();
      notifier.end();
    });
  }
  t.is(warnings.length, 3);
});

test('a start that takes long says how far it is, and is given time for it', (t) => {
  const rig = makeRig(t);
  rig.notifier.opening({ phase: 'replaying the log', doneBytes: 123, totalBytes: 1000 });
  // Too soon to be told.
  rig.notifier.opening({ phase: 'replaying the log', doneBytes: 124, totalBytes: 1000 });
  t.deepEqual(rig.receiver.take(), ['EXTEND_TIMEOUT_USEC=60000000\nSTATUS=replaying the log, 12 %']);
});
