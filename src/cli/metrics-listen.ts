// `--metrics-listen HOST:PORT` of `pcache mount`: another way to write the mount option `metrics_listen`, which is also for fstab and configuration files.

import type { Command } from 'commander';
import { listenAddressText, parseListenAddress } from '../gateway/listen-address.js';

/** Adds the option; what it says comes after what was said with `-o` before it. */
export function addMetricsListen(command: Command): void {
  command.option(
    '--metrics-listen <host:port>',
    'serve the metrics over HTTP there, for Prometheus; the same as -o metrics_listen=HOST:PORT',
  );
  command.on('option:metrics-listen', (text: string) => {
    const address = parseListenAddress('--metrics-listen', text);
    const before = (command.getOptionValue('options') as string[] | undefined) ?? [];
    command.setOptionValue('options', [...before, `metrics_listen=${listenAddressText(address)}`]);
  });
}
