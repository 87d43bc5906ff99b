// The time between unmounting and the end of the daemon, as `pcache umount` sees it: the log is closed, and with the option flush_on_stop dirty data is
// written back, which may take long and is shown then.

import type { ControlClient } from '../gateway/control-client.js';
import type { RuntimeEntry } from '../gateway/runtime-files.js';
import { statusOfAnswer } from '../gateway/status-answer.js';
import type { StatusSnapshot } from '../gateway/status.js';
import type { Output } from './output.js';
import { startProgress, type Progress } from './progress.js';

const ASK_INTERVAL_MS = 500;
const ANSWER_TIMEOUT_MS = 2000;

/** Of the status; gateways of older versions say only what is dirty. */
export type Pending = Pick<StatusSnapshot, 'dirty_bytes'> &
  Partial<Pick<StatusSnapshot, 'state' | 'writeback_pending_bytes' | 'writeback_bytes_per_s'>>;

export class WaitForEnd {
  readonly #client: Pick<ControlClient, 'request'>;
  readonly #output: Output;
  readonly #pendingBytes: number;
  /** Only for an interrupt. */
  readonly #watch: Progress;
  #bar: Progress | undefined;
  #askedMs = performance.now();
  #isAsking = false;
  #leftBytes: number;
  #hasAdvanced = false;

  /** @param before the status before it was unmounted: nobody writes any more, so nothing is added to what is to be written back */
  constructor(
    entry: Pick<RuntimeEntry, 'mountpoint' | 'supervisor_pid'>,
    before: Pending,
    client: Pick<ControlClient, 'request'>,
    output: Output,
  ) {
    this.#client = client;
    this.#output = output;
    this.#pendingBytes = pendingBytesOf(before);
    this.#leftBytes = this.#pendingBytes;
    this.#watch = startProgress(output, 'ending', 0, {
      interrupted: () => {
        this.#bar?.stop();
        return `${entry.mountpoint} is unmounted; its daemon (${entry.supervisor_pid}) ends by itself when its log is closed`;
      },
    });
  }

  /** Whether writing back has gone on since the last call. Asks for the next answer, if it is time. */
  hasAdvanced(): boolean {
    const has = this.#hasAdvanced;
    this.#hasAdvanced = false;
    if (!this.#isAsking && performance.now() - this.#askedMs > ASK_INTERVAL_MS) void this.#ask();
    return has;
  }

  stop(): void {
    this.#bar?.stop();
    this.#watch.stop();
  }

  /** Never rejects: a gateway that gives no answer any more is one that ends. */
  async #ask(): Promise<void> {
    this.#isAsking = true;
    this.#askedMs = performance.now();
    await this.#client.request({ op: 'status' }, { timeoutMs: ANSWER_TIMEOUT_MS }).then(
      (answer) => this.#hear(statusOfAnswer(answer, ['dirty_bytes'])),
      () => undefined,
    );
    this.#isAsking = false;
  }

  #hear(status: Pending): void {
    const leftBytes = pendingBytesOf(status);
    // A slow device may take minutes for a batch, and what is left becomes less at its end only. While the threads stop nothing notes the rate any more.
    if (status.state !== 'stopping' && leftBytes > 0 && (status.writeback_bytes_per_s ?? 0) > 0) this.#hasAdvanced = true;
    if (leftBytes < this.#leftBytes) {
      this.#leftBytes = leftBytes;
      this.#hasAdvanced = true;
      this.#bar ??= startProgress(this.#output, 'writing back', this.#pendingBytes, { lines: true });
    }
    // The same again tells that it takes longer.
    this.#bar?.update(this.#pendingBytes - this.#leftBytes);
  }
}

/** The work that is left; of a gateway that doesn't tell, what is dirty. */
function pendingBytesOf({ dirty_bytes: dirtyBytes, writeback_pending_bytes: pendingBytes }: Pending): number {
  return pendingBytes ?? dirtyBytes;
}
