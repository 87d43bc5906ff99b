// The child process of a demo on a machine without FUSE: opens the volume through the public API and does what its parent says, until it is told to
// close, or killed.

import { openVolume } from '../index.js';
import type { Volume } from '../index.js';
import { messageOf } from '../errors.js';

export type DirectRequest =
  | { readonly id: number; readonly op: 'open'; readonly cachePath: string; readonly backingPath: string }
  | { readonly id: number; readonly op: 'write'; readonly offsetBytes: number; readonly bytes: Uint8Array }
  | { readonly id: number; readonly op: 'read'; readonly offsetBytes: number; readonly lengthBytes: number }
  | { readonly id: number; readonly op: 'flush' | 'write-back' | 'close' };

export interface DirectAnswer {
  readonly id: number;
  readonly error?: string;
  readonly bytes?: Uint8Array;
}

let volume: Volume | undefined;

function carryOut(request: DirectRequest): Uint8Array | undefined {
  if (request.op === 'open') {
    volume = openVolume(request);
    return undefined;
  }
  if (request.op === 'read') return volume!.read(request.offsetBytes, request.lengthBytes);
  if (request.op === 'write') volume!.write(request.offsetBytes, request.bytes);
  else if (request.op === 'flush') volume!.flush();
  else if (request.op === 'write-back') volume!.writeBackAll();
  else volume!.close();
  return undefined;
}

process.on('message', (request: DirectRequest) => {
  let answer: DirectAnswer;
  try {
    const bytes = carryOut(request);
    answer = bytes === undefined ? { id: request.id } : { id: request.id, bytes };
  } catch (error) {
    answer = { id: request.id, error: messageOf(error) };
  }
  process.send!(answer);
  if (request.op === 'close') process.disconnect();
});
