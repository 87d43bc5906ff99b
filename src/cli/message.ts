// `pcache message`: tunes a mounted volume, like `dmsetup message`.

import type { Command } from 'commander';
import { PcacheError } from '../errors.js';
import { GC_PERCENT_MAX, GC_PERCENT_MIN } from '../media/layout.js';
import { addExample, type CommandContext } from './command.js';
import { gatewayOf } from './gateway-of.js';

export function define(command: Command, { output }: CommandContext): void {
  command
    .argument('<mountpoint>', 'where the volume is mounted')
    .argument('<name>', 'what to tune: gc_percent')
    .argument(
      '<value>',
      `gc_percent: collect garbage when more than this share of the segments is in use, ${GC_PERCENT_MIN} to ${GC_PERCENT_MAX}`,
    )
    .description('Tunes a mounted volume while it runs. The value is kept in the cache.')
    .action(async (mountpoint: string, name: string, value: string) => {
      if (name !== 'gc_percent') throw new PcacheError('usage', `message ${name}: unknown`, { hint: 'There is gc_percent.' });
      const percent = /^\d{1,3}$/.test(value) ? Number(value) : NaN;
      if (!(percent >= GC_PERCENT_MIN && percent <= GC_PERCENT_MAX)) {
        throw new PcacheError('usage', `gc_percent ${value}: not a number from ${GC_PERCENT_MIN} to ${GC_PERCENT_MAX}`);
      }
      const { client } = await gatewayOf(mountpoint);
      try {
        await client.request({ op: 'message', gc_percent: percent });
        output.result({ mountpoint, gc_percent: percent }, () => `${mountpoint}: gc_percent is ${percent}`);
      } finally {
        client.close();
      }
    });
  addExample(command, 'pcache message /mnt/vol gc_percent 60');
}
