// A child of backing-aio.test: has writes under way until it is killed.

import { openWriteQueue } from '../../src/device/backing-queue.js';
import { openBackingDevice } from '../../src/device/file-backing-device.js';
import { alignedBuffer } from '../../src/gateway/aligned-buffer.js';

const queue = openWriteQueue(openBackingDevice(process.argv[2]!), 4);
const memory = alignedBuffer(4096).fill(5);
process.once('message', () => {
  for (let token = 0; token < 4; token++) queue.submitWrite(token, token * 4096, memory, 0, 4096);
  queue.wait(0);
  process.send!('submitted');
});
process.on('disconnect', () => process.exit());
process.send!('open');
