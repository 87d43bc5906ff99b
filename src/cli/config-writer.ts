// A configuration file with comments: what it says, and what else it could.

import { stringify } from 'yaml';
import { mountOptionRows } from '../gateway/mount-options.js';
import { configKeys, type MountConfig } from './config-text.js';

/** Examples of the keys that a new file leaves out. */
const EXAMPLES: Readonly<Record<string, string>> = {
  metrics_listen: '127.0.0.1:9464',
  log: 'journal',
  log_level: 'info',
};

export function configText(config: Pick<MountConfig, 'cache' | 'backing' | 'mountpoint' | 'options'>): string {
  const lines = ['# A mount of pcache. `pcache config check` says whether this file is right.', ''];
  for (const { name, help } of configKeys) {
    lines.push(`# ${help}`);
    if (name === 'options') lines.push(...optionLines(config.options));
    else if (name === 'cache' || name === 'backing' || name === 'mountpoint') lines.push(stringify({ [name]: config[name] }).trimEnd());
    else lines.push(`#${name}: ${EXAMPLES[name] ?? ''}`);
    lines.push('');
  }
  return lines.join('\n');
}

/** Those that are set as keys, all others as comments. */
function optionLines(options: readonly string[]): string[] {
  const set = new Map(
    options.map((option) => {
      const equals = option.indexOf('=');
      return equals < 0 ? ([option, 'true'] as const) : ([option.slice(0, equals), option.slice(equals + 1)] as const);
    }),
  );
  const own = mountOptionRows.filter(({ name }) => !configKeys.some((key) => key.name === name));
  const rows = own.map(({ name, value, help }) => {
    const given = set.get(name);
    return given === undefined ? `  #${name}: ${value ?? 'true'}  # ${help}` : `  ${name}: ${given}`;
  });
  return ['options:', ...rows];
}
