// The time between unmounting and the end of the daemon, as `pcache umount` sees it: the log is closed, and with the option flush_on_stop dirty data is
// written back, which may take long and is shown then.

import type { ControlClient } from '../gateway/control-client.js';
import type { RuntimeEntry } from '../gateway/runtime-files.js';
import { statusOfAnswer } from '../gateway/status-answer.js';
import type { Output } from './output.js';
import { startProgress, type Progress } from './progress.js';

const ASK_INTERVAL_MS = 500;
const ANSWER_TIMEOUT_MS = 2000;

export class WaitForEnd {
  readonly #client: ControlClient;
  readonly #output: Output;
  readonly #dirtyBytes: number;
  /** Only for an interrupt. */
  readonly #watch: Progress;
  #bar: Progress | undefined;
  #askedMs = performance.now();
  #isAsking = false;
  #leftBytes: number;
  #hasAdvanced = false;

  constructor(entry: RuntimeEntry, dirtyBytes: number, client: ControlClient, output: Output) {
    this.#client = client;
    this.#output = output;
    this.#dirtyBytes = dirtyBytes;
    this.#leftBytes = dirtyBytes;
    this.#watch = startProgress(output, 'ending', 0, {
      interrupted: () => {
        this.#bar?.stop();
        return `${entry.mountpoint} is unmounted; its daemon (${entry.supervisor_pid}) ends by itself when its log is closed`;
      },
    });
  }

  /** Whether something was written back since the last call. Asks for the next answer, if it is time. */
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
      (answer) => this.#hear(statusOfAnswer(answer, ['dirty_bytes']).dirty_bytes),
      () => undefined,
    );
    this.#isAsking = false;
  }

  #hear(leftBytes: number): void {
    if (leftBytes >= this.#leftBytes) return;
    this.#leftBytes = leftBytes;
    this.#hasAdvanced = true;
    this.#bar ??= startProgress(this.#output, 'writing back', this.#dirtyBytes, { lines: true });
    this.#bar.update(this.#dirtyBytes - leftBytes);
  }
}
