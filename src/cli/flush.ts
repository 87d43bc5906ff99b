// `pcache flush`: everything that is dirty now reaches the backing device. An interrupt ends the command; the gateway goes on.

import type { Command } from 'commander';
import { PcacheError, messageOf } from '../errors.js';
import type { ControlClient } from '../gateway/control-client.js';
import type { FlushProgressLine } from '../gateway/control-protocol.js';
import { flushOutcome } from '../gateway/flush-outcome.js';
import { addExample, type CommandContext } from './command.js';
import { addMountPoint, gatewayOf, mountPointMeant, type ConfigDirOption } from './gateway-of.js';
import { statusOfAnswer } from '../gateway/status-answer.js';
import { startProgress, type Progress } from './progress.js';
import { formatSize, formatTook } from './size.js';

export function define(command: Command, context: CommandContext): void {
  const { output } = context;
  addMountPoint(command)
    .description(
      'Writes everything that is dirty now back to the backing device; the volume stays mounted and in use. Ctrl-C ends the command, not the writing back.',
    )
    .action(async (pathOrName: string, { configDir }: ConfigDirOption) => {
      const mountpoint = await mountPointMeant(pathOrName, configDir);
      const { entry, client } = await gatewayOf(mountpoint);
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
        output.result({ mountpoint: entry.mountpoint, flushed_bytes: bytes, seconds: Number(seconds.toFixed(3)) }, () =>
          bytes === 0 ? `${mountpoint}: nothing was dirty` : `${mountpoint}: ${formatSize(bytes)} written back in ${formatTook(seconds)}`,
        );
      } finally {
        client.close();
      }
    });
  addExample(command, 'pcache flush /mnt/vol', 'pcache flush vol');
}

/** What is shown is looked at this often: when nothing is written back any more, the time left must not stay as it was. */
const SHOW_INTERVAL_MS = 500;

/**
 * Flushes and shows how far it is, in bytes of writes that are to be passed; resolves with the bytes of the volume that were dirty when it began and are not any
 * more. An interrupt says `interrupted`. Says so, and makes it exit status 1, if damaged data can't be written back.
 */
export async function flushWithProgress(
  client: Pick<ControlClient, 'request'>,
  context: CommandContext,
  interrupted = 'the gateway goes on writing back; pcache status shows what is still dirty',
): Promise<number> {
  const { output } = context;
  let progress: Progress | undefined;
  let [totalBytes, doneBytes] = [0, 0];
  const watch = startProgress(output, 'writing back', 0, {
    interrupted: () => {
      progress?.stop();
      return interrupted;
    },
  });
  const timer = setInterval(() => progress?.update(doneBytes), SHOW_INTERVAL_MS);
  try {
    const onProgress = ({ bytes_total, bytes_left }: FlushProgressLine): void => {
      [totalBytes, doneBytes] = [bytes_total, bytes_total - bytes_left];
      progress ??= startProgress(output, 'writing back', bytes_total, { lines: true });
      progress.update(doneBytes);
    };
    // In this order, and at once: so the status is of the moment at which the flush begins.
    const [before] = await Promise.all([client.request({ op: 'status' }), client.request({ op: 'flush' }, { onProgress })]);
    const { dirty_bytes: dirtyBytes } = statusOfAnswer(before, ['dirty_bytes']);
    progress?.update(totalBytes);
    const status = statusOfAnswer(await client.request({ op: 'status' }), ['dirty_bytes', 'corrupt_keys']);
    const { writtenBytes, isDamaged } = flushOutcome(dirtyBytes, status);
    if (isDamaged) {
      output.warn(`damaged data can't be written back and stays in the cache (${status.corrupt_keys} keys): pcache check names its ranges`);
      context.exitStatus = 1;
    }
    return writtenBytes;
  } finally {
    clearInterval(timer);
    progress?.stop();
    watch.stop();
  }
}

/** An error of the devices at a flush, with what has become of the data; other errors as they are. Never rejects. */
export async function withWhatStays(error: unknown, what: string, client: ControlClient, advice: string): Promise<unknown> {
  if (!(error instanceof PcacheError) || !['io', 'no-space', 'mismatch'].includes(error.code)) return error;
  try {
    const status = statusOfAnswer(await client.request({ op: 'status' }), ['dirty_bytes', 'backing', 'cache', 'state']);
    const { dirty_bytes: dirtyBytes, backing, cache, state } = status;
    const why = messageOf(error).replace(/^flush: /, '');
    if (error.code === 'mismatch') {
      const stays = dirtyBytes === 0 ? '' : `${formatSize(dirtyBytes)} of dirty data stay in ${cache}: `;
      return new PcacheError(error.code, `${what}: ${stays}${why}`, {
        cause: error,
        ...(error.hint === undefined ? {} : { hint: error.hint }),
      });
    }
    // Of a cache device that fails nobody knows what it still has.
    const isSafe = state !== 'cache-error';
    const message = `${what}: ${formatSize(dirtyBytes)} could not be written back to ${backing} and stay in ${cache}: ${why}`;
    return new PcacheError(error.code, message, { cause: error, ...(isSafe ? { hint: `Nothing is lost: ${advice}` } : {}) });
  } catch {
    // A gateway that gives no answer any more: what it said before is all there is.
    return error;
  }
}
