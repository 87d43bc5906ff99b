// An engine process as its supervisor sees it: started, told an outline of what will be wanted, for which it prepares itself, given everything it works on, and
// gone at some time.
//
// Invariants: it has no descriptor of the volume before `start`; `ended` resolves once, when the process is gone with all its threads, so nothing of it
// changes the cache or the backing device any more. The cache it does not change from `programStopped` on.

import { fork, type ChildProcess } from 'node:child_process';
import { closeSync } from 'node:fs';
import { sendFileDescriptors } from '../device/descriptor-passing.js';
import { socketpair } from '../device/libc.js';
import { AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM } from '../device/linux-constants.js';
import { messageOf } from '../errors.js';
import { engineArguments, type EngineOutline } from './engine.js';
import { engineEnvironment } from './engine-environment.js';
import { programEnd } from './process-death.js';
import { startTicksOf } from './process-identity.js';
import { EXIT_OTHER_BUILD, OTHER_BUILD } from './program-build.js';
import type {
  EngineMessage,
  EnginePrepareMessage,
  EngineStartMessage,
  GiveUpFlushMessage,
  UnmountWantedMessage,
} from './process-messages.js';

/** How long an engine that said it ended may take to exit. */
const EXIT_TIMEOUT_MS = 5000;

export class EngineChild {
  /** Resolves with how it ended: "killed by SIGKILL", say. */
  readonly ended: Promise<string>;
  /** The last message. */
  said: EngineMessage | undefined;
  onMessage: (message: EngineMessage) => void = () => undefined;
  /** See startTicksOf; 0 if it could not be started. */
  readonly startTicks: number;
  readonly #process: ChildProcess;
  readonly #socket: number;
  #hasEnded = false;

  /** `engineMain` is the main module of the process. Without an outline it waits for that, see `prepare`. */
  constructor(engineMain: URL, outline?: EngineOutline) {
    const [ours, theirs] = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC);
    this.#socket = ours;
    try {
      // Detached: Ctrl-C at a supervisor in the foreground is the supervisor's business alone.
      this.#process = fork(engineMain, engineArguments(), {
        detached: true,
        env: engineEnvironment(process.env),
        serialization: 'advanced',
        stdio: ['ignore', 2, 2, 'ipc', theirs],
      });
    } finally {
      closeSync(theirs);
    }
    this.#process.on('message', (message: EngineMessage) => this.#hear(message));
    this.ended = new Promise((resolve) => {
      const end = (how: string): void => {
        if (this.#hasEnded) return;
        this.#hasEnded = true;
        closeSync(this.#socket);
        resolve(how);
      };
      this.#process.once('exit', (status, signal) => {
        const exited = status === EXIT_OTHER_BUILD ? OTHER_BUILD : `exited with status ${status ?? 'unknown'}`;
        end(signal === null ? exited : `killed by ${signal}`);
      });
      this.#process.on('error', (error) => {
        // Without a pid it never ran, and no exit will be told. Other errors are of messages to a process that is gone, whose exit is.
        if (this.#process.pid === undefined) end(`cannot be started: ${messageOf(error)}`);
      });
    });
    const { pid } = this.#process;
    this.startTicks = (pid === undefined ? undefined : startTicksOf(pid)) ?? 0;
    if (outline !== undefined) this.prepare(outline);
  }

  /** 0 if it could not be started. */
  get pid(): number {
    return this.#process.pid ?? 0;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Called once, before `start`. */
  prepare({ workers, readOnly, transport, isAwaited }: EngineOutline): void {
    const outline: EngineOutline = { workers, readOnly, transport, isAwaited };
    if (this.#process.connected) this.#process.send({ type: 'prepare', outline } satisfies EnginePrepareMessage, () => undefined);
  }

  /** Gives it everything, with copies of `fds`. If it is dead already `ended` tells, as of any other death. */
  start(message: EngineStartMessage, fds: readonly number[]): void {
    if (this.#hasEnded) return;
    try {
      sendFileDescriptors(this.#socket, fds);
    } catch {
      // Its side of the socket is closed: it is dying.
      return;
    }
    // An error here is that of a dying process too.
    if (this.#process.connected) this.#process.send(message, () => undefined);
  }

  /**
   * Resolves with `ended` at the latest, and some 60 ms before it where the system can tell: its program has stopped, and `said` is its last message, but
   * what it had under way in the kernel may not be done (see process-death). To be called for few: each call has a thread waiting.
   */
  async programStopped(): Promise<void> {
    // Where it can't be told, the end is.
    const programStopped = this.pid === 0 ? this.ended : programEnd(this.pid).catch(() => this.ended);
    await Promise.race([this.ended, programStopped]);
  }

  /** Ends the writing back at the end, if that is under way. */
  giveUpFlush(): void {
    if (this.#process.connected) this.#process.send({ type: 'give-up-flush' } satisfies GiveUpFlushMessage, () => undefined);
  }

  tellUnmountWanted(): void {
    if (this.#process.connected) this.#process.send({ type: 'unmount-wanted' } satisfies UnmountWantedMessage, () => undefined);
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }

  #hear(message: EngineMessage): void {
    this.said = message;
    if (message.type === 'ended') setTimeout(() => this.kill(), EXIT_TIMEOUT_MS).unref();
    this.onMessage(message);
  }
}
