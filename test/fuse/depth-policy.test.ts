import test from 'ava';
import { DepthPolicy } from '../../src/fuse/depth-policy.js';

/** Requests that are there one after another, each answered at once, until answers are held back. @returns how many; Infinity if they never are */
function requestsUntilDeep(policy: DepthPolicy, limit = 100_000): number {
  for (let count = 0; count < limit; count++) {
    if (policy.isDeep) return count;
    policy.tried(true, 0);
  }
  return Infinity;
}

/** Batches of so many answers until they are not held back any more. @returns how many; Infinity if they always are */
function batchesUntilShallow(policy: DepthPolicy, answers: number, limit = 10_000): number {
  for (let count = 0; count < limit; count++) {
    if (!policy.isDeep) return count;
    for (let held = 1; held < answers; held++) policy.tried(true, held);
    policy.tried(false, answers);
  }
  return Infinity;
}

test('answers are not held back before many requests in a row were there already', (t) => {
  const policy = new DepthPolicy();
  t.false(policy.isDeep);
  for (let round = 0; round < 100; round++) {
    for (let i = 0; i < 15; i++) policy.tried(true, 0);
    policy.tried(false, 0);
    t.false(policy.isDeep);
  }
  t.is(requestsUntilDeep(policy), 16);
});

test('they go on being held back while batches are large, or full', (t) => {
  const policy = new DepthPolicy();
  requestsUntilDeep(policy);
  t.is(batchesUntilShallow(policy, 6), Infinity);
  for (let batch = 0; batch < 1000; batch++) {
    for (let held = 1; held < 8; held++) policy.tried(true, held);
    // Full, and sent; the next begins.
    policy.tried(true, 0);
  }
  t.true(policy.isDeep);
});

test('after small batches they are not, and each time that was soon, it takes twice as many requests to begin again, up to a bound', (t) => {
  const policy = new DepthPolicy();
  const runs: number[] = [];
  for (let round = 0; round < 12; round++) {
    runs.push(requestsUntilDeep(policy));
    t.true(batchesUntilShallow(policy, 2) <= 16);
  }
  t.deepEqual(runs, [16, 32, 64, 128, 256, 512, 512, 512, 512, 512, 512, 512]);
});

test('a queue that is empty once in a while does not make a long run begin anew', (t) => {
  const policy = new DepthPolicy();
  for (let round = 0; round < 6; round++) {
    requestsUntilDeep(policy);
    batchesUntilShallow(policy, 1);
  }
  for (let i = 0; i < 300; i++) policy.tried(true, 0);
  policy.tried(false, 0);
  t.is(requestsUntilDeep(policy), 512 - 300 + 32);
});

test('after a long time of large batches it takes as few as at first', (t) => {
  const policy = new DepthPolicy();
  for (let round = 0; round < 3; round++) {
    requestsUntilDeep(policy);
    batchesUntilShallow(policy, 1);
  }
  requestsUntilDeep(policy);
  t.is(batchesUntilShallow(policy, 8, 100), Infinity);
  t.true(batchesUntilShallow(policy, 5) <= 16);
  t.is(requestsUntilDeep(policy), 16);
});

test('an empty queue between batches says nothing about them', (t) => {
  const policy = new DepthPolicy();
  requestsUntilDeep(policy);
  for (let i = 0; i < 1000; i++) policy.tried(false, 0);
  t.true(policy.isDeep);
});
