// One-line files in which the kernel says things, in sysfs and /proc.

import * as fs from 'node:fs';
import * as path from 'node:path';
import { errnoOf } from './system-error.js';

/** Trimmed content of a file of sysfs or /proc; undefined if it is missing, unreadable or empty. */
export function systemText(folder: string, name: string): string | undefined {
  try {
    const text = fs.readFileSync(path.join(folder, name), 'utf8').trim();
    return text === '' ? undefined : text;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}
