// `pcache monitor`: a terminal monitor of a mounted volume. What it shows and how is in src/monitor; here is how it reaches the gateway.

import type { Command } from 'commander';
import { PcacheError } from '../errors.js';
import { mountNamed } from '../fuse/mountinfo.js';
import { ControlClient } from '../gateway/control-client.js';
import { lastFailureOf } from '../gateway/last-failure.js';
import { startTicksOf } from '../gateway/process-identity.js';
import { isRunning, type RuntimeEntry } from '../gateway/runtime-files.js';
import type { Endpoint, GatewayEnd } from '../monitor/connection.js';
import { terminalOf } from '../monitor/look.js';
import { LATENCY_BOUNDS_US } from '../shared/latency.js';
import { addExample, type CommandContext } from './command.js';
import { addMountPoint, mountPointMeant, runningEntryOf, type ConfigDirOption } from './gateway-of.js';
import { formatSize } from './size.js';

export function define(command: Command, { globals, output }: CommandContext): void {
  addMountPoint(command)
    .description(
      'Shows on the terminal, once a second, whether the data is safe, how the cache works and what its log does. Keys: f flushes, p pauses ' +
        'or resumes writeback, g changes gc_percent, 1 2 3 switch views, ? helps, q quits. NO_COLOR=1 leaves out the colours.',
    )
    .action(async (pathOrName: string, { configDir }: ConfigDirOption) => {
      if (globals.json || !process.stdout.isTTY) {
        const why = globals.json ? 'there is no monitor in JSON' : 'the output is not a terminal';
        throw new PcacheError('usage', `monitor: ${why}`, { hint: `pcache status ${pathOrName} --json prints the same figures once.` });
      }
      const mountpoint = await mountPointMeant(pathOrName, configDir);
      const entry = runningEntryOf(mountpoint);
      // Loaded only here: what draws.
      const { runMonitor } = await import('../monitor/monitor.js');
      const end = await runMonitor({
        mountpoint: entry.mountpoint,
        endpoint: endpointOf(entry),
        terminal: terminalOf(process.env),
        boundsUs: LATENCY_BOUNDS_US,
      });
      if (end?.kind === 'died') {
        const isMounted = mountNamed(entry.mountpoint) !== undefined;
        const hint = isMounted ? { hint: `pcache umount ${entry.mountpoint} takes the dead mount away; then mount it again.` } : {};
        throw new PcacheError('closed', `${mountpoint}: its gateway ended: ${end.why}`, hint);
      }
      if (end !== undefined) output.line(`${mountpoint}: ${unmountedText(end)}`);
    });
  addExample(command, 'pcache monitor /mnt/vol');
}

function endpointOf(entry: RuntimeEntry): Endpoint {
  return {
    connect: () => ControlClient.connect(entry.socket),
    supervisorLives: () => isRunning(entry),
    isMounted: () => mountNamed(entry.mountpoint) !== undefined,
    processLives: (pid) => startTicksOf(pid) !== undefined,
    failure: () => {
      const failure = lastFailureOf(entry.mountpoint);
      return failure === undefined ? undefined : (failure.reason ?? `its log is ${failure.log}`);
    },
  };
}

function unmountedText({ last }: Extract<GatewayEnd, { kind: 'unmounted' }>): string {
  if (last === undefined) return 'unmounted';
  return last.dirty_bytes === 0
    ? `unmounted; everything is on ${last.backing}`
    : `unmounted; ${formatSize(last.dirty_bytes)} are only in the cache, ${last.cache}`;
}
