// The conformance suite on fuse-native, with files in memory.

import { fork, type ChildProcess } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import test from 'ava';
import { messageOf } from '../../src/errors.js';
import { abortConnection, connectionNumber } from '../../src/fuse/connection.js';
import { loadFuseNative } from '../../src/fuse/libfuse-library.js';
import { unmountFuse } from '../../src/fuse/mount.js';
import { mountAt } from '../../src/fuse/mountinfo.js';
import { conformance } from './conformance.js';
import { whyNoFuse } from './memory-mount.js';
import type { LibfuseServerMessage, LibfuseServerStart } from './libfuse-server.js';

const SIZE_BYTES = 16 << 20;
const ANSWER_MS = 20_000;

function whyNoLibfuse(): string | undefined {
  try {
    loadFuseNative();
    return whyNoFuse();
  } catch (error) {
    return messageOf(error);
  }
}

function messageFrom(server: ChildProcess): Promise<LibfuseServerMessage> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => finish(() => reject(new Error('libfuse server: no answer'))), ANSWER_MS);
    const onExit = (): void => finish(() => reject(new Error('libfuse server: ended')));
    const onMessage = (message: LibfuseServerMessage): void => finish(() => resolve(message));
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      server.off('exit', onExit).off('message', onMessage);
      settle();
    };
    server.once('exit', onExit).once('message', onMessage);
  });
}

conformance(test, {
  name: 'libfuse',
  skip: whyNoLibfuse(),
  cannot: { fallocate: true },
  start: async () => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'pcache-libfuse-'));
    const mountpoint = path.join(directory, 'mnt');
    fs.mkdirSync(mountpoint);
    const server = fork(new URL('./libfuse-server.js', import.meta.url));
    const end = (): void => {
      server.kill('SIGKILL');
      fs.rmSync(directory, { recursive: true, force: true });
    };
    const ready = messageFrom(server);
    server.send({ mountpoint, volumeFile: path.join(directory, 'bytes'), sizeBytes: SIZE_BYTES } satisfies LibfuseServerStart);
    const message = await ready;
    if (message.kind !== 'ready') {
      end();
      throw new Error(message.kind === 'failed' ? message.message : message.kind);
    }
    const mounted = mountAt(mountpoint);
    if (mounted?.type !== 'fuse.pcache' || mounted.source !== 'memory, by libfuse') throw new Error(JSON.stringify(mounted));
    return {
      mountpoint,
      volumePath: path.join(mountpoint, 'volume.img'),
      sizeBytes: SIZE_BYTES,
      stop: async () => {
        try {
          const ended = messageFrom(server);
          const number = connectionNumber(mountpoint);
          if (number !== undefined && unmountFuse(mountpoint) === 'busy') {
            abortConnection(number);
            unmountFuse(mountpoint, { lazy: true });
          }
          const last = await ended;
          if (last.kind !== 'ended' || last.errors.length > 0) throw new Error(JSON.stringify(last));
          if (last.pending === 0) throw new Error('no request was handed on');
        } finally {
          end();
        }
      },
    };
  },
});
