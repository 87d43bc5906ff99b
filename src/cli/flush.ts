// `pcache flush`: everything that is dirty now reaches the backing device. An interrupt ends the command; the gateway goes on.

import type { Command } from 'commander';
import { PcacheError, messageOf } from '../errors.js';
import type { ControlClient } from '../gateway/control-client.js';
import { addExample, type CommandContext } from './command.js';
import { addMountPoint, gatewayOf, mountPointMeant, type ConfigDirOption } from './gateway-of.js';
import { statusOfAnswer } from '../gateway/status-answer.js';
import { startProgress, type Progress } from './progress.js';
import { formatDuration, formatSize } from './size.js';

export function define(command: Command, context: CommandContext): void {
  const { output } = context;
  addMountPoint(command)
    .description(
      'Writes everything that is dirty now back to the backing device; the volume stays mounted and in use. Ctrl-C ends the command, not the writing back.',
    )
    .action(async (pathOrName: string, { configDir }: ConfigDirOption) => {
      const mountpoint = await mountPointMeant(pathOrName, configDir);
      const { client } = await gatewayOf(mountpoint);
      try {
        const startMs = performance.now();
        const bytes = await flushWithProgress(client, context).catch(async (error: unknown) => {
          throw await withWhatStays(
            error,
            `flush: ${mountpoint}`,
            client,
            'it is tried again by itself, and pcache status shows how that goes.',
          );
        });
        const seconds = (performance.now() - startMs) / 1000;
        output.result({ mountpoint, flushed_bytes: bytes, seconds: Number(seconds.toFixed(3)) }, () =>
          bytes === 0
            ? `${mountpoint}: nothing was dirty`
            : `${mountpoint}: ${formatSize(bytes)} written back in ${formatDuration(seconds)}`,
        );
      } finally {
        client.close();
      }
    });
  addExample(command, 'pcache flush /mnt/vol', 'pcache flush vol');
}

/**
 * Flushes and shows how far it is; resolves with the bytes that were dirty. Says so, and makes it exit status 1, if damaged data can't be written
 * back.
 */
export async function flushWithProgress(client: ControlClient, context: CommandContext): Promise<number> {
  const { output } = context;
  let progress: Progress | undefined;
  let totalBytes = 0;
  const watch = startProgress(output, 'writing back', 0, {
    interrupted: () => {
      progress?.stop();
      return 'the gateway goes on writing back; pcache status shows what is still dirty';
    },
  });
  try {
    await client.request(
      { op: 'flush' },
      {
        onProgress: ({ bytes_total, bytes_left }) => {
          totalBytes = Math.max(totalBytes, bytes_total);
          progress ??= startProgress(output, 'writing back', bytes_total, { lines: true });
          progress.update(bytes_total - bytes_left);
        },
      },
    );
    progress?.update(totalBytes);
    const status = statusOfAnswer(await client.request({ op: 'status' }), ['dirty_bytes', 'corrupt_keys']);
    if (status.corrupt_keys > 0 && status.dirty_bytes > 0) {
      output.warn(`damaged data can't be written back and stays in the cache (${status.corrupt_keys} keys): pcache check names its ranges`);
      context.exitStatus = 1;
      totalBytes = Math.max(0, totalBytes - status.dirty_bytes);
    }
    return totalBytes;
  } finally {
    progress?.stop();
    watch.stop();
  }
}

/** An error of the devices at a flush, with what has become of the data; other errors as they are. Never rejects. */
export async function withWhatStays(error: unknown, what: string, client: ControlClient, advice: string): Promise<unknown> {
  if (!(error instanceof PcacheError) || (error.code !== 'io' && error.code !== 'no-space')) return error;
  try {
    const status = statusOfAnswer(await client.request({ op: 'status' }), ['dirty_bytes', 'backing', 'cache', 'state']);
    const { dirty_bytes: dirtyBytes, backing, cache, state } = status;
    // Of a cache device that fails nobody knows what it still has.
    const isSafe = state !== 'cache-error';
    const why = messageOf(error).replace(/^flush: /, '');
    const message = `${what}: ${formatSize(dirtyBytes)} could not be written back to ${backing} and stay in ${cache}: ${why}`;
    return new PcacheError(error.code, message, { cause: error, ...(isSafe ? { hint: `Nothing is lost: ${advice}` } : {}) });
  } catch {
    // A gateway that gives no answer any more: what it said before is all there is.
    return error;
  }
}
