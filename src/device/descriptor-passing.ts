// Receiving a file descriptor over a socket (SCM_RIGHTS): how fusermount3 hands over the descriptor of a mount it made.
//
// Layouts (64-bit, sys/socket.h): msghdr is {name ptr, namelen u32, pad, iov ptr, iovlen u64, control ptr, controllen u64, flags i32, pad};
// cmsghdr is {len u64, level i32, type i32} followed by the descriptors.

import { PcacheError } from '../errors.js';
import { addressOf, recvmsg } from './libc.js';
import { MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOL_SOCKET } from './linux-constants.js';

const MSGHDR_BYTES = 56;
const IOVEC_OFFSET = 64;
const PAYLOAD_OFFSET = 128;
const PAYLOAD_BYTES = 64;
const CONTROL_OFFSET = 192;
const CONTROL_BYTES = 64;
const CMSG_HEADER_BYTES = 16;
const CMSG_ONE_DESCRIPTOR_BYTES = CMSG_HEADER_BYTES + 4;

/**
 * Waits for one message on `socketFd` and returns the descriptor that came with it, close-on-exec. Throws PcacheError `io` if the other side closed
 * the socket or sent none.
 */
export function receiveFileDescriptor(socketFd: number): number {
  const memory = Buffer.alloc(256);
  const address = BigInt(addressOf(memory));
  memory.writeBigUInt64LE(address + BigInt(PAYLOAD_OFFSET), IOVEC_OFFSET);
  memory.writeBigUInt64LE(BigInt(PAYLOAD_BYTES), IOVEC_OFFSET + 8);
  memory.writeBigUInt64LE(address + BigInt(IOVEC_OFFSET), 16);
  memory.writeBigUInt64LE(1n, 24);
  memory.writeBigUInt64LE(address + BigInt(CONTROL_OFFSET), 32);
  memory.writeBigUInt64LE(BigInt(CONTROL_BYTES), 40);
  const received = recvmsg(socketFd, memory.subarray(0, MSGHDR_BYTES), MSG_CMSG_CLOEXEC);
  const controlBytes = Number(memory.readBigUInt64LE(40));
  const carriesDescriptor =
    controlBytes >= CMSG_ONE_DESCRIPTOR_BYTES &&
    memory.readInt32LE(CONTROL_OFFSET + 8) === SOL_SOCKET &&
    memory.readInt32LE(CONTROL_OFFSET + 12) === SCM_RIGHTS;
  if (!carriesDescriptor) {
    throw new PcacheError(
      'io',
      `receiving a file descriptor: ${received === 0 ? 'the sender closed the socket' : 'the message carries none'}`,
    );
  }
  return memory.readInt32LE(CONTROL_OFFSET + CMSG_HEADER_BYTES);
}
