import test from 'ava';
import { PollPolicy } from '../../src/fuse/poll-policy.js';

/** Waits that sleep until one polls again. */
function sleepsUntilPoll(policy: PollPolicy): number {
  let sleeps = 0;
  while (!policy.polls && sleeps < 10_000) {
    policy.slept();
    sleeps++;
  }
  return sleeps;
}

/** Polls in vain until the policy has enough of it. */
function missesUntilSleep(policy: PollPolicy): number {
  let misses = 0;
  while (policy.polls && misses < 10_000) {
    policy.polled(false);
    misses++;
  }
  return misses;
}

test('with a limit of 0 no wait polls', (t) => {
  const policy = new PollPolicy(0);
  t.false(policy.polls);
  policy.slept();
  t.false(policy.polls);
});

test('waits poll as long as requests come meanwhile', (t) => {
  const policy = new PollPolicy(20);
  for (let i = 0; i < 1000; i++) {
    t.true(policy.polls);
    policy.polled(true);
  }
  policy.polled(false);
  t.true(policy.polls, 'one wait in vain is no reason to stop');
});

test('after two waits in vain the next only sleep, each time twice as many, up to a bound', (t) => {
  const policy = new PollPolicy(20);
  const pauses = [];
  for (let i = 0; i < 12; i++) {
    t.is(missesUntilSleep(policy), 2);
    pauses.push(sleepsUntilPoll(policy));
  }
  t.deepEqual(pauses, [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 4096, 4096, 4096]);
});

test('a poll that finds a request makes the next pause short again', (t) => {
  const policy = new PollPolicy(20);
  for (let i = 0; i < 5; i++) {
    missesUntilSleep(policy);
    sleepsUntilPoll(policy);
  }
  policy.polled(true);
  t.is(missesUntilSleep(policy), 2);
  t.is(sleepsUntilPoll(policy), 16);
});
