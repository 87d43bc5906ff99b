// The log of supervisor and engine: one record an event, with its level. Both append to descriptor 2 of their process (see log-sink). In the background that is
// one file of JSON lines (pino's); elsewhere the same records become short lines for people, and for the journal lines that start with their level.

import pino, { type Logger } from 'pino';
import type { LogLevel } from './log-level.js';
import { LogSink } from './log-sink.js';
import { harmlessJson, oneLine } from './one-line.js';

export type { Logger } from 'pino';

/**
 * - `json`: lines for programs, in a file of the log's own among the runtime files; `stream-json`: the same lines on a stderr that is somebody else's.
 * - `text`: lines for people, with the time of day; `dated`: with the date too.
 * - `journal`: lines for people without a time, which the journal adds, and with their level in front as sd-daemon(3) has it.
 */
export type LogFormat = 'json' | 'stream-json' | 'text' | 'dated' | 'journal';

export interface LogOptions {
  /** `supervisor` or `engine`. */
  readonly name: string;
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** The path of the file that descriptor 2 is, if another file may take its place. */
  readonly file?: string | undefined;
}

export function createLog({ name, level, format, file }: LogOptions): Logger {
  const lineOf = (record: string): string =>
    format === 'json' || format === 'stream-json' ? harmlessJson(record) : textOfRecord(record, format);
  const noteOfLoss = (count: number, why: string): string => {
    const msg = `${count} lines of the log are missing here: ${why}`;
    return lineOf(`${JSON.stringify({ level: pino.levels.values.warn, time: new Date().toISOString(), pid: process.pid, name, msg })}\n`);
  };
  const sink = new LogSink(file, noteOfLoss);
  return pino(
    { name, level, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime },
    { write: (record: string) => sink.write(lineOf(record)) },
  );
}

/** Fields that a line for people leaves out or says otherwise. */
const unsaidFields = new Set(['level', 'time', 'pid', 'name', 'msg']);

/** One record of pino as a line: `12:30:00 warn engine: MESSAGE key=value`. Text that isn't such a record stays as it is. */
export function textOfRecord(line: string, format: Exclude<LogFormat, 'json' | 'stream-json'> = 'text'): string {
  let record: unknown;
  try {
    record = JSON.parse(line);
  } catch {
    return line;
  }
  if (typeof record !== 'object' || record === null) return line;
  const fields = record as Record<string, unknown>;
  const text = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));
  // Lines of a stack are lines of their own to whoever reads it.
  const shown = (key: string, value: unknown): string => (key === 'stack' ? text(value).replaceAll(/\s*\n\s*/g, ' | ') : text(value));
  const rest = Object.entries(fields)
    .filter(([key]) => !unsaidFields.has(key))
    .map(([key, value]) => ` ${key}=${shown(key, value)}`);
  const message = oneLine(`${text(fields.name ?? 'pcache')}: ${text(fields.msg ?? '')}${rest.join('')}`);
  const number = Number(fields.level);
  if (format === 'journal') return `<${syslogLevel(number)}>${message}\n`;
  const level = pino.levels.labels[number] ?? 'info';
  const time = typeof fields.time === 'string' ? fields.time : '';
  return `${format === 'dated' ? time : time.slice(11, 19)} ${level} ${message}\n`;
}

/** pino's levels as those of syslog(3): critical, error, warning, informational, debug. */
function syslogLevel(level: number): number {
  if (level >= pino.levels.values.fatal!) return 2;
  if (level >= pino.levels.values.error!) return 3;
  if (level >= pino.levels.values.warn!) return 4;
  return level >= pino.levels.values.info! ? 6 : 7;
}
