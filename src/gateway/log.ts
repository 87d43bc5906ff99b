// The log of supervisor and engine. In the background both append JSON lines (pino) to one file, which is their stderr, so that whatever
// the runtime itself prints while dying stands in its place among them. In the foreground the same records become short lines for people.

import pino, { type DestinationStream, type Logger } from 'pino';
import type { LogLevel } from './log-level.js';

export type { Logger } from 'pino';

export interface LogOptions {
  /** `supervisor` or `engine`. */
  readonly name: string;
  readonly level: LogLevel;
  /** `json`: lines for programs; `text`: lines for people. */
  readonly format: 'json' | 'text';
}

/** Writes to stderr without delay or buffer: a log that is lost when the process dies explains nothing. */
export function createLog(options: LogOptions): Logger {
  const json = pino.destination({ dest: 2, sync: true });
  return pino(
    { name: options.name, level: options.level, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime },
    options.format === 'json' ? json : textDestination(json),
  );
}

/** Fields that a line for people leaves out or says otherwise. */
const unsaidFields = new Set(['level', 'time', 'pid', 'name', 'msg']);

/** One record of pino as a line: `12:30:00 warn engine: MESSAGE key=value`. Text that isn't such a record stays as it is. */
export function textOfRecord(line: string): string {
  let record: unknown;
  try {
    record = JSON.parse(line);
  } catch {
    return line;
  }
  if (typeof record !== 'object' || record === null) return line;
  const fields = record as Record<string, unknown>;
  const text = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));
  const rest = Object.entries(fields)
    .filter(([key]) => !unsaidFields.has(key))
    .map(([key, value]) => ` ${key}=${text(value)}`);
  const level = pino.levels.labels[Number(fields.level)] ?? 'info';
  const time = typeof fields.time === 'string' ? fields.time.slice(11, 19) : '';
  return `${time} ${level} ${text(fields.name ?? 'pcache')}: ${text(fields.msg ?? '')}${rest.join('')}\n`;
}

function textDestination(sink: DestinationStream): DestinationStream {
  return { write: (line: string) => sink.write(textOfRecord(line)) };
}
