import test from 'ava';
import { Daemon, lacking, pause, run, waitUntil, within } from '../../bench/command.js';

const never = new AbortController().signal;
const LONG_MS = 60_000;

test('a program that ends well yields what it printed', async (t) => {
  t.is(await run('sh', ['-c', 'echo "$WORD"'], { timeoutMs: LONG_MS, signal: never, env: { WORD: 'hello' } }), 'hello\n');
});

test('a program that fails is named with its status and its last words', async (t) => {
  const failing = run('sh', ['-c', 'echo first >&2; echo last >&2; exit 3'], { timeoutMs: LONG_MS, signal: never });
  await t.throwsAsync(failing, { message: 'sh: status 3: first; last' });
});

test('a program that is not there is an error, too', async (t) => {
  await t.throwsAsync(run('no-such-program', [], { timeoutMs: LONG_MS, signal: never }), { message: /no-such-program/ });
  t.is(lacking('sh'), undefined);
  t.is(lacking('sh', 'no-such-program'), 'no no-such-program on this machine');
});

test('a program that takes too long is killed with its children', async (t) => {
  const daemon = new Daemon('sh', ['-c', 'sleep 60 & wait']);
  await t.throwsAsync(daemon.ended(100, never), { message: 'waited 0.1 s in vain: sh ends' });
  // Its output is closed only when nobody holds it any more, the child included.
  t.is(await daemon.ended(LONG_MS, never), null);
  t.true(daemon.hasEnded);
});

test('an interrupt ends every wait', async (t) => {
  const interrupt = new AbortController();
  const waits = [
    run('sleep', ['60'], { timeoutMs: LONG_MS, signal: interrupt.signal }),
    within(new Promise(() => undefined), 'never', LONG_MS, interrupt.signal),
    waitUntil(() => false, 'never', LONG_MS, interrupt.signal),
    pause(LONG_MS, interrupt.signal),
  ];
  const outcomes = Promise.allSettled(waits);
  interrupt.abort(new Error('interrupted'));
  for (const outcome of await outcomes) {
    t.is(outcome.status, 'rejected');
    t.is(outcome.status === 'rejected' && (outcome.reason as Error).message, 'interrupted');
  }
  await t.throwsAsync(run('true', [], { timeoutMs: LONG_MS, signal: interrupt.signal }), { message: 'interrupted' });
});
