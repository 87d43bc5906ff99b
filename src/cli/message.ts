// `pcache message`: tunes a mounted volume, like `dmsetup message`.

import type { Command } from 'commander';
import { PcacheError } from '../errors.js';
import { GC_PERCENT_MAX, GC_PERCENT_MIN } from '../media/layout.js';
import type { ControlQuestion } from '../gateway/control-client.js';
import { addExample, type CommandContext } from './command.js';
import { addMountPoint, gatewayOf, mountPointMeant, type ConfigDirOption } from './gateway-of.js';

const HELP = `
gc_percent N      Collect garbage when more than this share of the segments is in use, ${GC_PERCENT_MIN} to ${GC_PERCENT_MAX}. Kept in the cache.
writeback pause   Write nothing back to the backing device, for example while it is needed
                  for something else. No promise depends on it: what was acknowledged stays
                  safe in the cache, and dirty data grows. A flush of a user (fsync) never
                  waits for it. It is overridden while \`pcache flush\` or \`umount --flush\`
                  runs, and while writers wait for room in a full cache. It lasts until
                  \`resume\` or the end of the mount, beyond the death of an engine.
writeback resume  Write back again.`;

/** What can be tuned: for each, how its value becomes a request. */
const tunings: Readonly<Record<string, (value: string) => Tuning>> = {
  gc_percent: (value) => {
    const percent = /^\d{1,3}$/.test(value) ? Number(value) : NaN;
    if (!(percent >= GC_PERCENT_MIN && percent <= GC_PERCENT_MAX)) {
      throw new PcacheError('usage', `message: gc_percent ${value}: not a number from ${GC_PERCENT_MIN} to ${GC_PERCENT_MAX}`);
    }
    return { request: { op: 'message', gc_percent: percent }, result: { gc_percent: percent }, text: `gc_percent is ${percent}` };
  },
  writeback: (value) => {
    if (value !== 'pause' && value !== 'resume') throw new PcacheError('usage', `message: writeback ${value}: neither pause nor resume`);
    return {
      request: { op: 'message', writeback: value },
      result: { writeback_paused: value === 'pause' },
      text: value === 'pause' ? 'writeback is paused, but for flushes and when the cache is full' : 'writeback goes on',
    };
  },
};

interface Tuning {
  readonly request: ControlQuestion;
  readonly result: Readonly<Record<string, unknown>>;
  readonly text: string;
}

export function define(command: Command, { output }: CommandContext): void {
  addMountPoint(command)
    .argument('<name>', 'what to tune: gc_percent or writeback')
    .argument('<value>', 'its value, see below')
    .description('Tunes a mounted volume while it runs.')
    .action(async (pathOrName: string, name: string, value: string, { configDir }: ConfigDirOption) => {
      const tuning = Object.hasOwn(tunings, name) ? tunings[name]!(value) : undefined;
      if (tuning === undefined)
        throw new PcacheError('usage', `message: ${name}: unknown`, { hint: 'There are gc_percent and writeback.' });
      const mountpoint = await mountPointMeant(pathOrName, configDir);
      const { entry, client } = await gatewayOf(mountpoint);
      try {
        await client.request(tuning.request);
        output.result({ mountpoint: entry.mountpoint, ...tuning.result }, () => `${mountpoint}: ${tuning.text}`);
      } finally {
        client.close();
      }
    });
  command.addHelpText('after', HELP);
  addExample(command, 'pcache message /mnt/vol gc_percent 60', 'pcache message /mnt/vol writeback pause');
}
