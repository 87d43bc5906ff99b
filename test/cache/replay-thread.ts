// A thread that helps tests to replay logs, well or badly.

import { parentPort } from 'node:worker_threads';
import { helpReplay } from '../../src/cache/replay-helper.js';
import { SimCacheDevice } from '../support/sim-media.js';
import { layerOver } from '../support/model-rig.js';
import { FAILURE, HelperWord } from './replay-order.js';
import type { HelperOrder } from './replay-order.js';

/** Asked for at so many segments, a helper is in the middle of its second piece or so. */
const GOOD_SEGMENTS = 3;
const STOP_MS = 300;

parentPort!.on('message', ({ job, media, conduct, words }: HelperOrder) => {
  let calls = 0;
  helpReplay(job, () => {
    Atomics.add(words, HelperWord.joined, 1);
    Atomics.notify(words, HelperWord.joined);
    const device = new SimCacheDevice(media);
    return layerOver(device, {
      segment(id) {
        Atomics.add(words, HelperWord.segments, 1);
        if (conduct !== 'good' && ++calls === GOOD_SEGMENTS) {
          Atomics.add(words, HelperWord.misconducts, 1);
          if (conduct === 'fails') throw new Error(FAILURE);
          if (conduct === 'ends') process.exit();
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, STOP_MS);
        }
        return device.segment(id);
      },
    });
  });
  Atomics.add(words, HelperWord.left, 1);
  Atomics.notify(words, HelperWord.left);
});
