import test from 'ava';
import { closeWakeEvent } from '../../src/device/wake-event.js';
import { addressOf, poll, read } from '../../src/device/libc.js';
import { POLLIN } from '../../src/device/linux-constants.js';
import { MissLane, createMissLane } from '../../src/gateway/miss-lane.js';

const memory = new Int32Array(1024);

/** How often the event was written since the last look. */
function wakeUps(eventFd: number): number {
  memory[0] = eventFd;
  memory[1] = POLLIN;
  if (poll(addressOf(memory), 1, 0) === 0) return 0;
  read(eventFd, addressOf(memory), 8);
  return memory[0];
}

test('whoever pushes while the thread is awake pays for no wake-up, and while it sleeps only the first does', (t) => {
  const state = createMissLane(8);
  const thread = new MissLane(state);
  const others = [new MissLane(state), new MissLane(state)] as const;
  const eventFd = thread.listen();
  t.teardown(() => closeWakeEvent(eventFd));
  const tuple = Int32Array.of(5);
  t.true(others[0].push(tuple));
  t.is(wakeUps(eventFd), 0);
  t.false(thread.fallAsleep(), 'there is a request');
  thread.wakeUp();
  t.true(thread.requests.pop(tuple));
  t.true(thread.fallAsleep());
  t.true(others[0].push(tuple));
  t.true(others[1].push(tuple));
  t.is(wakeUps(eventFd), 1);
  thread.wakeUp();
  t.true(others[1].push(tuple));
  t.is(wakeUps(eventFd), 0);
  t.is(thread.length, 3);
});

test('an order to stop wakes the thread that sleeps', (t) => {
  const state = createMissLane(1);
  const thread = new MissLane(state);
  const eventFd = thread.listen();
  t.teardown(() => closeWakeEvent(eventFd));
  t.true(thread.fallAsleep());
  new MissLane(state).wakeAll();
  t.is(wakeUps(eventFd), 1);
});

test('the first worker has the ring; if it can have none, all block', (t) => {
  const ring = (): string | undefined => 'ring';
  const noRing = (): string | undefined => undefined;
  const state = createMissLane(1);
  const lane = new MissLane(state);
  t.false(lane.hasRing);
  t.is(lane.claim(ring), 'ring');
  t.true(lane.hasRing);
  t.is(new MissLane(state).claim(ring), undefined);
  const refused = new MissLane(createMissLane(1));
  t.is(refused.claim(noRing), undefined);
  t.false(refused.hasRing);
  t.is(refused.claim(ring), undefined);
});
