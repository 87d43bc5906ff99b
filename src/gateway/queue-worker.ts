// A queue worker's thread: takes requests from its FUSE descriptor and answers them, or hands them on, until the session ends.

import { serveQueue } from '../fuse/dev-fuse-transport.js';
import { DataThread } from './gateway-shared.js';
import type { DataThreadStart } from './gateway-shared.js';
import { noteRequestError } from './request-errors.js';
import { tellMain, threadStart } from './thread-messages.js';
import { VolumeFiles } from './volume-files.js';
import type { VolumeFilesOptions } from './volume-files.js';

export interface QueueWorkerStart extends DataThreadStart {
  readonly fuseFd: number;
  readonly files: VolumeFilesOptions;
}

const start = threadStart() as QueueWorkerStart;
const thread = new DataThread(start);
const fileSystem = new VolumeFiles(thread, start.files);
tellMain({ type: 'ready' });
const queueEnd = serveQueue({
  fd: start.fuseFd,
  slots: thread.slots,
  fileSystem,
  stopWord: start.shared.words.subarray(0, 1),
  onError: noteRequestError,
});
thread.end();
tellMain({ type: 'ended', queueEnd });
