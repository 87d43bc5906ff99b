// A thread, and those that it starts from then on, for which the kernel has no io_uring: as in a container that forbids it.

import { addressOf, prctl } from '../../src/device/libc.js';

// linux/prctl.h, linux/seccomp.h
const PR_SET_SECCOMP = 22;
const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_MODE_FILTER = 2;
const RET_ALLOW = 0x7fff_0000;
const RET_ERRNO = 0x0005_0000;
const EPERM = 1;
// linux/bpf_common.h: load a word, jump if equal, return
const LOAD_WORD = 0x20;
const JUMP_EQUAL = 0x15;
const RETURN = 0x06;
/** The same on all machines. */
const SYS_IO_URING_SETUP = 425;
/** Number of the system call in `struct seccomp_data`. */
const CALL_NUMBER = 0;
const INSTRUCTION_BYTES = 8;

/** For the calling thread and all that it starts later; there is no way back. io_uring_setup(2) fails with EPERM. */
export function forbidIoUring(): void {
  const instructions: [code: number, ifTrue: number, ifFalse: number, value: number][] = [
    [LOAD_WORD, 0, 0, CALL_NUMBER],
    [JUMP_EQUAL, 0, 1, SYS_IO_URING_SETUP],
    [RETURN, 0, 0, RET_ERRNO | EPERM],
    [RETURN, 0, 0, RET_ALLOW],
  ];
  // A page each, because V8 moves small arrays about.
  const program = Buffer.alloc(4096);
  const head = Buffer.alloc(4096);
  for (const [at, [code, ifTrue, ifFalse, value]] of instructions.entries()) {
    program.writeUInt16LE(code, at * INSTRUCTION_BYTES);
    program.writeUInt8(ifTrue, at * INSTRUCTION_BYTES + 2);
    program.writeUInt8(ifFalse, at * INSTRUCTION_BYTES + 3);
    program.writeUInt32LE(value, at * INSTRUCTION_BYTES + 4);
  }
  head.writeUInt16LE(instructions.length, 0);
  head.writeBigUInt64LE(BigInt(addressOf(program)), 8);
  // Without the right to do otherwise, this is the condition; it also takes the power from setuid programs such as fusermount3.
  if (process.getuid!() !== 0) prctl(PR_SET_NO_NEW_PRIVS, 1);
  prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, addressOf(head));
}
