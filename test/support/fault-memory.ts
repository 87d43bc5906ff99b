// Shortage of memory for some processes: a memory cgroup with a limit, of version 1 or 2, whichever the machine has. Needs root.

import { existsSync, mkdtempSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { RUN_PREFIX } from './mounted.js';
import { waitUntil } from './mounted-commands.js';
import { isRoot } from './tmp.js';

const V1 = '/sys/fs/cgroup/memory';
const V2 = '/sys/fs/cgroup';

interface Controller {
  readonly folder: string;
  readonly limitFile: string;
}

function controller(): Controller | undefined {
  if (existsSync(join(V1, 'memory.limit_in_bytes'))) {
    return { folder: V1, limitFile: 'memory.limit_in_bytes' };
  }
  const delegated = join(V2, 'cgroup.subtree_control');
  if (existsSync(delegated) && readFileSync(delegated, 'utf8').split(/\s+/).includes('memory')) {
    return { folder: V2, limitFile: 'memory.max' };
  }
  return undefined;
}

/** Why memory can't be made short here; undefined if it can. */
export const noMemoryGroups = !isRoot ? 'needs root' : controller() === undefined ? 'no memory cgroups' : undefined;

const CAP_SYS_RESOURCE = 24n;

/** Why a gateway that this process starts can't be kept from waiting for its own writes; undefined if it can. */
export const noIoFlusher = ((): string | undefined => {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  const has = effective !== undefined && ((BigInt(`0x${effective}`) >> CAP_SYS_RESOURCE) & 1n) === 1n;
  return has ? undefined : 'needs CAP_SYS_RESOURCE';
})();

export class MemoryGroup {
  readonly #folder: string;
  readonly #controller: Controller;

  private constructor(limitBytes: number) {
    this.#controller = controller()!;
    this.#folder = mkdtempSync(join(this.#controller.folder, RUN_PREFIX));
    writeFileSync(join(this.#folder, this.#controller.limitFile), String(limitBytes));
  }

  /** For the duration of a test. Call before anything is started that is to be in it, so that this goes last. */
  static create(t: ExecutionContext, limitBytes: number): MemoryGroup {
    const group = new MemoryGroup(limitBytes);
    t.teardown(() => group.#remove());
    return group;
  }

  /** A command, for `sh -c`, that puts its shell into the group; what the shell starts is in it too. */
  get enter(): string {
    return `echo $$ > ${join(this.#folder, 'cgroup.procs')}`;
  }

  /** Moves a process with all its threads. Memory that it has stays where it was counted. */
  add(pid: number): void {
    writeFileSync(join(this.#folder, 'cgroup.procs'), String(pid));
  }

  /** How often memory was wanted that the limit did not allow: reclaimed, or somebody killed. */
  get shortages(): number {
    const v1 = join(this.#folder, 'memory.failcnt');
    if (existsSync(v1)) return Number(readFileSync(v1, 'utf8'));
    return Number(/^max (\d+)/m.exec(readFileSync(join(this.#folder, 'memory.events'), 'utf8'))?.[1] ?? 0);
  }

  async #remove(): Promise<void> {
    // A group with processes in it can't be removed; who is in it is about to end.
    await waitUntil(() => readFileSync(join(this.#folder, 'cgroup.procs'), 'utf8') === '', 'a memory cgroup is empty');
    rmdirSync(this.#folder);
  }
}
