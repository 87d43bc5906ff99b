// What the caller's thread and the threads of an open cache send each other. Requests and answers come in lists, since a message costs more than what is in it.

import type { MessagePort } from 'node:worker_threads';
import { PcacheError } from '../errors.js';
import type { PcacheErrorCode } from '../errors.js';
import type { OpenedShared, ThreadWords } from './thread-shared.js';

/** How a cache is made. */
export interface CreateCacheOptions {
  /** Checksum the payload of every key (CRC-32C). Costs each write a pass over its bytes. Default false. */
  readonly dataCrc?: boolean | undefined;
  /** Share of the segments in use above which the collector works, 0 to 90 percent. Default 70. */
  readonly gcPercent?: number | undefined;
}

/** What the front thread opens. */
export interface OpenPlan {
  readonly cachePath: string;
  readonly backingPath: string;
  readonly readOnly: boolean;
  readonly adopt: boolean;
  readonly create: (CreateCacheOptions & { readonly sizeBytes: number }) | undefined;
}

export interface Request {
  readonly id: number;
  readonly op: 'read' | 'write' | 'discard' | 'flush' | 'write-back';
  /** Volume bytes; 0 where the operation has no range. */
  readonly offset: number;
  readonly length: number;
  /** Of a write. */
  readonly bytes?: Uint8Array;
  /** See ThreadWords.aborted. */
  readonly slot: number;
}

/** From the front thread, or the background thread, to the log thread. */
export interface FlushOrder {
  readonly id: number;
  /** The kset that must be durable. */
  readonly sequence: number;
}

/** A PcacheError, which would lose its class and code on the way from one thread to another. */
export interface PlainError {
  readonly code: PcacheErrorCode;
  readonly message: string;
  readonly errno: number | undefined;
  readonly hint: string | undefined;
}

export interface Answer {
  readonly id: number;
  readonly bytes?: Uint8Array<ArrayBuffer>;
  readonly error?: PlainError;
}

/** To the front thread: the last message. With `markClean` the log is closed, and the media are marked so. */
export interface CloseOrder {
  readonly markClean: boolean;
}

export type ThreadMessage =
  | { readonly type: 'answers'; readonly answers: readonly Answer[] }
  | { readonly type: 'opened'; readonly opened: OpenedShared }
  | { readonly type: 'refused'; readonly error: PlainError }
  | { readonly type: 'ended'; readonly error?: PlainError };

/** Each thread's workerData. */
export interface ThreadData {
  readonly threadWords: ThreadWords;
  /** Only the front thread has one. */
  readonly plan?: OpenPlan;
  /** Where messages come from, besides the caller's thread. */
  readonly inbox: readonly MessagePort[];
  readonly toMiss?: MessagePort;
  readonly toBackground?: MessagePort;
  readonly toLog?: MessagePort;
}

export function plainError(error: PcacheError): PlainError {
  return { code: error.code, message: error.message, errno: error.errno, hint: error.hint };
}

export function errorFromPlain({ code, message, errno, hint }: PlainError): PcacheError {
  return new PcacheError(code, message, { ...(errno === undefined ? {} : { errno }), ...(hint === undefined ? {} : { hint }) });
}

/** For what a request failed with: an answer if that is about the request, thrown on if it is a bug, which ends the thread and with it the cache. */
export function failureAnswer(id: number, error: unknown): Answer {
  if (error instanceof PcacheError && error.code !== 'internal') return { id, error: plainError(error) };
  throw error;
}
