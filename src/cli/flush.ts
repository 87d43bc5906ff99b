// `pcache flush`: everything that is dirty now reaches the backing device. An interrupt ends the command; the gateway goes on.

import type { Command } from 'commander';
import type { ControlClient } from '../gateway/control-client.js';
import { addExample, type CommandContext } from './command.js';
import { gatewayOf } from './gateway-of.js';
import type { Output } from './output.js';
import { startProgress, type Progress } from './progress.js';
import { formatDuration, formatSize } from './size.js';

export function define(command: Command, { output }: CommandContext): void {
  command
    .argument('<mountpoint>', 'where the volume is mounted')
    .description('Writes everything that is dirty now back to the backing device. Ctrl-C ends the command, not the writing back.')
    .action(async (mountpoint: string) => {
      const { client } = await gatewayOf(mountpoint);
      try {
        const startMs = performance.now();
        const bytes = await flushWithProgress(client, output);
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
  addExample(command, 'pcache flush /mnt/vol');
}

/** Flushes and shows how far it is; resolves with the bytes that were dirty. */
export async function flushWithProgress(client: ControlClient, output: Output): Promise<number> {
  let progress: Progress | undefined;
  let totalBytes = 0;
  try {
    await client.request(
      { op: 'flush' },
      {
        onProgress: ({ bytes_total, bytes_left }) => {
          totalBytes = Math.max(totalBytes, bytes_total);
          progress ??= startProgress(output, 'writing back', bytes_total);
          progress.update(bytes_total - bytes_left);
        },
      },
    );
    progress?.update(totalBytes);
    return totalBytes;
  } finally {
    progress?.stop();
  }
}
