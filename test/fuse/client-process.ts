// The client process: carries out one call at a time, as told over IPC. Started by client.ts.

import { errnoOf } from '../../src/device/system-error.js';
import { clientCalls } from './client-calls.js';

export interface ClientOrder {
  readonly call: string;
  readonly values: unknown[];
}
export type ClientAnswer = { readonly result: unknown } | { readonly errno: number; readonly message: string };

process.on('message', ({ call, values }: ClientOrder) => process.send!(carryOut(call, values)));

function carryOut(call: string, values: unknown[]): ClientAnswer {
  try {
    const functionOfCall = clientCalls[call as keyof typeof clientCalls] as (...values: unknown[]) => unknown;
    return { result: functionOfCall(...values) };
  } catch (error) {
    return { errno: errnoOf(error) ?? 0, message: String(error) };
  }
}
