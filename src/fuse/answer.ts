// Sending answers. Invariants: every request but FORGET and its like gets exactly one answer, on the descriptor it came from, with the `unique`
// it came with (bit 63, "resent", included); what the kernel can't take becomes EIO, never silence, for a request without an answer hangs
// its caller. The answer of a ring's entry is only put in place here: the ring's thread commits it when the slot comes back (io-uring-transport.ts).

import { errno } from '../device/errno-codes.js';
import { writev } from '../device/libc.js';
import { NO_REPLY } from './file-system.js';
import { LOCAL_FD, type RequestSlot } from './request-slots.js';

/** The kernel refuses an answer with an error of 512 or more, and leaves the request waiting. */
const ERRNO_LIMIT = 512;

/**
 * Answers the slot's request. By the queue worker that read it, or, for a request that was PENDING, by any one thread of the process.
 * Allocates nothing.
 * @param result what the request's handler returned, or would have: a byte count, a size, 0, -errno or NO_REPLY
 * @returns 0 if the kernel took it or doesn't want it any more (interrupted, unmounted); else the -errno of the failure, and the caller got EIO
 */
export function sendAnswer(slot: RequestSlot, result: number): number {
  const entries = sealAnswer(slot, result);
  return entries === 0 ? 0 : answerTaken(slot, writev(slot.fd, slot.iovec.address, entries));
}

/**
 * Makes the answer ready to be written to the descriptor that the request came from. What is answered in another way, or not at all, is done with then.
 * @returns how many entries of `slot.iovec` are to be written; 0: none
 */
export function sealAnswer(slot: RequestSlot, result: number): number {
  const request = slot.request;
  if (result === NO_REPLY || (request.uniqueLo === 0 && request.uniqueHi === 0)) return 0;
  if (slot.fd === LOCAL_FD) {
    slot.leaveAnswer(result);
    return 0;
  }
  let error = 0;
  let smallBytes = 0;
  if (result < 0) {
    error = result;
  } else {
    smallBytes = slot.row === undefined ? -errno.EIO : slot.row.conclude(slot, result);
    if (smallBytes < 0) {
      error = smallBytes;
      smallBytes = 0;
    }
  }
  if (error <= -ERRNO_LIMIT) error = -errno.EIO;
  if (slot.ring >= 0) {
    slot.sealForRing(error, smallBytes);
    return 0;
  }
  return slot.seal(error, smallBytes);
}

/** What became of an answer: as `sendAnswer` returns. @param sent bytes written or -errno */
export function answerTaken(slot: RequestSlot, sent: number): number {
  if (sent >= 0 || sent === -errno.ENOENT || sent === -errno.ENODEV) return 0;
  // Data that can't be read (a cache device that was cut short) fails here. The request is most likely ended with EIO already; if it isn't, this does.
  writev(slot.fd, slot.iovec.address, slot.seal(-errno.EIO, 0));
  return sent;
}
