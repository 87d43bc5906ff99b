// File descriptors over a socket (SCM_RIGHTS): how fusermount3 hands over the descriptor of a mount it made, and how a supervisor hands what it holds
// to an engine that was started before.
//
// Layouts (64-bit, sys/socket.h): msghdr is {name ptr, namelen u32, pad, iov ptr, iovlen u64, control ptr, controllen u64, flags i32, pad};
// cmsghdr is {len u64, level i32, type i32} followed by the descriptors.

import { PcacheError } from '../errors.js';
import { addressOf, recvmsg, sendmsg } from './libc.js';
import { MSG_CMSG_CLOEXEC, MSG_NOSIGNAL, SCM_RIGHTS, SOL_SOCKET } from './linux-constants.js';

/** The kernel's SCM_MAX_FD. */
const DESCRIPTORS_MAX = 253;
const MSGHDR_BYTES = 56;
const IOVEC_OFFSET = 64;
const PAYLOAD_OFFSET = 128;
const PAYLOAD_BYTES = 64;
const CONTROL_OFFSET = 192;
const CMSG_HEADER_BYTES = 16;
const CONTROL_BYTES_MAX = CMSG_HEADER_BYTES + DESCRIPTORS_MAX * 4 + 4;

/** A message header with room for payload and descriptors, all in one buffer. */
function messageMemory(payloadBytes: number, controlBytes: number): Buffer {
  const memory = Buffer.alloc(CONTROL_OFFSET + CONTROL_BYTES_MAX);
  const address = BigInt(addressOf(memory));
  memory.writeBigUInt64LE(address + BigInt(PAYLOAD_OFFSET), IOVEC_OFFSET);
  memory.writeBigUInt64LE(BigInt(payloadBytes), IOVEC_OFFSET + 8);
  memory.writeBigUInt64LE(address + BigInt(IOVEC_OFFSET), 16);
  memory.writeBigUInt64LE(1n, 24);
  memory.writeBigUInt64LE(address + BigInt(CONTROL_OFFSET), 32);
  memory.writeBigUInt64LE(BigInt(controlBytes), 40);
  return memory;
}

/** Sends copies of 1 to 253 descriptors in one message. Throws PcacheError if the other side has closed the socket. */
export function sendFileDescriptors(socketFd: number, fds: readonly number[]): void {
  if (!(fds.length > 0 && fds.length <= DESCRIPTORS_MAX)) throw new RangeError(`sendFileDescriptors: ${fds.length}: must be 1 to 253`);
  const controlBytes = CMSG_HEADER_BYTES + fds.length * 4;
  const memory = messageMemory(1, controlBytes);
  memory.writeBigUInt64LE(BigInt(controlBytes), CONTROL_OFFSET);
  memory.writeInt32LE(SOL_SOCKET, CONTROL_OFFSET + 8);
  memory.writeInt32LE(SCM_RIGHTS, CONTROL_OFFSET + 12);
  for (const [index, fd] of fds.entries()) memory.writeInt32LE(fd, CONTROL_OFFSET + CMSG_HEADER_BYTES + index * 4);
  sendmsg(socketFd, memory.subarray(0, MSGHDR_BYTES), MSG_NOSIGNAL);
}

/**
 * Waits for one message on `socketFd` and returns the descriptors that came with it, in order, close-on-exec. Throws PcacheError `io` if the other side
 * closed the socket or sent none.
 */
export function receiveFileDescriptors(socketFd: number): number[] {
  const memory = messageMemory(PAYLOAD_BYTES, CONTROL_BYTES_MAX);
  const received = recvmsg(socketFd, memory.subarray(0, MSGHDR_BYTES), MSG_CMSG_CLOEXEC);
  const carriesDescriptors =
    Number(memory.readBigUInt64LE(40)) > CMSG_HEADER_BYTES &&
    memory.readInt32LE(CONTROL_OFFSET + 8) === SOL_SOCKET &&
    memory.readInt32LE(CONTROL_OFFSET + 12) === SCM_RIGHTS;
  if (!carriesDescriptors) {
    throw new PcacheError(
      'io',
      `receiving a file descriptor: ${received === 0 ? 'the sender closed the socket' : 'the message carries none'}`,
    );
  }
  const count = (Number(memory.readBigUInt64LE(CONTROL_OFFSET)) - CMSG_HEADER_BYTES) >> 2;
  return Array.from({ length: count }, (_, index) => memory.readInt32LE(CONTROL_OFFSET + CMSG_HEADER_BYTES + index * 4));
}

/** As `receiveFileDescriptors`, where one is expected. */
export function receiveFileDescriptor(socketFd: number): number {
  return receiveFileDescriptors(socketFd)[0]!;
}
