// kill -9 of a real gateway under writers that keep diaries: of the engine, at random moments, also while it starts; and of both processes.
// After each death of both, and whenever the writers were stopped, every acknowledged write must be there; when a gateway is done with, its backing
// file alone must hold them all.
//
// An engine that dies five times within a minute is given up by its supervisor, which is right: so one supervisor's engine is killed four times at
// most before the supervisor is killed as well.

import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { seededRandom } from '../../src/device/seeded-random.js';
import { startTicksOf } from '../../src/gateway/process-identity.js';
import { Client } from '../fuse/client.js';
import { waitUntil } from '../support/mounted-commands.js';
import { machineMs } from './machine-clock.js';
import type { Part, RunLimits, Tally } from './part.js';
import { TortureDiary } from './torture-diary.js';
import { TortureGateway, kill } from './torture-gateway.js';

const MIB = 1 << 20;
const RANGE_BYTES = 4 * MIB;
const ENGINE_DEATHS_MAX = 4;
/** Supervisors one after another over one cache, before another cache is made. */
const LIVES_PER_CACHE = 3;
const ANSWER_MS = 60_000;
/** Moments after the writers have got going again. */
const MOMENT_MS_MAX = 800;
/** Moments after an engine was started, which takes about so long. */
const START_MS_MAX = 400;

export const killPart: Part = {
  name: 'kill -9',
  unit: 'kills',
  triesMax: 1_000_000,
  lacks: process.getuid?.() !== 0 ? 'needs root' : existsSync('/dev/fuse') ? undefined : 'no /dev/fuse',
  async run(limits, tally) {
    const random = seededRandom(limits.seed);
    const counts = new KillCounts(tally);
    while (await limits.goesOn()) await new Session(limits, counts, random).run();
  },
};

class KillCounts {
  readonly pausesMs: number[] = [];
  engine = 0;
  both = 0;
  acknowledged = 0;
  errors = 0;
  lost = 0;
  readonly #tally: Tally;

  constructor(tally: Tally) {
    this.#tally = tally;
    this.show();
  }

  show(): void {
    const sorted = this.pausesMs.toSorted((a, b) => a - b);
    const pause = (index: number): string => (sorted.length === 0 ? 'none' : `${Math.round(sorted[index]!)} ms`);
    this.#tally.tried = this.engine + this.both;
    this.#tally.details = {
      'of the engine': this.engine,
      'of both processes': this.both,
      'acknowledged writes': this.acknowledged,
      'errors when the engine died': this.errors,
      'writes lost': this.lost,
      'pause, median': pause(Math.floor((sorted.length - 1) / 2)),
      'pause, maximum': pause(sorted.length - 1),
    };
    if (this.errors > 0) this.#tally.problem ??= `kill -9: writers saw ${this.errors} errors`;
    if (this.lost > 0) this.#tally.problem ??= `kill -9: ${this.lost} acknowledged writes are not there`;
  }
}

/** One cache and the lives of its supervisors. */
class Session {
  readonly #limits: RunLimits;
  readonly #counts: KillCounts;
  readonly #random: () => number;
  readonly #gateway: TortureGateway;
  readonly #diaries: readonly TortureDiary[];

  constructor(limits: RunLimits, counts: KillCounts, random: () => number) {
    this.#limits = limits;
    this.#counts = counts;
    this.#random = random;
    this.#gateway = new TortureGateway({
      cacheBytes: 96 * MIB,
      volumeBytes: 32 * MIB,
      cacheOn: this.#pick(2) === 0 ? 'memory' : 'disk',
      dataCrc: this.#pick(2) === 0,
      // Collected all the time, so that killing hits the collector too, or hardly ever.
      gcPercent: this.#pick(2) === 0 ? 0 : 70,
    });
    const { folder, volume } = this.#gateway;
    // The seams are in the middle of a page, which two writers share.
    this.#diaries = (['plain', 'fsync', 'unaligned'] as const).map((how, index) => {
      const startBytes = index === 0 ? 0 : index * RANGE_BYTES - 512;
      return new TortureDiary(folder, volume, { startBytes, lengthBytes: RANGE_BYTES - (index === 0 ? 512 : 0) }, how, limits.seed);
    });
  }

  #pick(below: number): number {
    return Math.floor(this.#random() * below);
  }

  async run(): Promise<void> {
    try {
      await this.#gateway.format();
      await this.#gateway.mount();
      for (let life = 0; life < LIVES_PER_CACHE && !this.#limits.isOver; life++) await this.#life();
      if (this.#limits.interrupted) return;
      await this.#gateway.umountFlushed();
      await this.#gateway.check();
      const backing = readFileSync(this.#gateway.backing);
      for (const { startBytes, expected } of this.#diaries) {
        if (!backing.subarray(startBytes, startBytes + expected.length).equals(expected)) {
          throw new Error(`the backing file alone differs from what was acknowledged, from ${startBytes} on`);
        }
      }
    } finally {
      for (const diary of this.#diaries) diary.kill();
      await this.#gateway.dispose();
      for (const diary of this.#diaries) await diary.stop();
    }
  }

  /** Some deaths of the engine, then one of both processes. */
  async #life(): Promise<void> {
    this.#startWriters();
    const deaths = 1 + this.#pick(ENGINE_DEATHS_MAX);
    for (let death = 0; death < deaths && !this.#limits.isOver;) {
      await delay(this.#pick(MOMENT_MS_MAX));
      // Now and then the next one dies while it starts.
      const chain = Math.min(deaths - death, this.#pick(3) === 0 ? 2 : 1);
      await this.#killEngine(chain);
      death += chain;
    }
    if (this.#limits.interrupted) return;
    if (this.#pick(3) === 0) {
      await this.#stopAndCompare();
      this.#counts.errors += this.#diaries.filter(({ failure }) => failure !== undefined).length;
      this.#startWriters();
      await this.#goOn(machineMs());
    }
    await delay(this.#pick(MOMENT_MS_MAX));
    await this.#killBoth();
  }

  #startWriters(): void {
    for (const diary of this.#diaries) diary.start();
  }

  /** Waits until each writer has had a write acknowledged. @returns when the last of them had */
  async #goOn(sinceMs: number): Promise<number> {
    let lastMs = sinceMs;
    await Promise.all(
      this.#diaries.map(async (diary) => {
        const firstMs = await diary.acknowledgedAfter(sinceMs, ANSWER_MS);
        if (firstMs !== undefined) lastMs = Math.max(lastMs, firstMs);
        else if (!this.#limits.interrupted) this.#counts.errors++;
      }),
    );
    this.#counts.show();
    return lastMs;
  }

  async #killEngine(times: number): Promise<void> {
    await this.#goOn(machineMs());
    let killedMs = 0;
    let before: number | undefined;
    for (let time = 0; time < times; time++) {
      let pid: number | undefined;
      await waitUntil(() => (pid = this.#gateway.enginePid) !== undefined && pid !== before, 'there is an engine', ANSWER_MS);
      if (time > 0) await delay(this.#pick(START_MS_MAX));
      if (killedMs === 0) killedMs = machineMs();
      if (kill(pid!)) this.#counts.engine++;
      before = pid;
    }
    // What is acknowledged after the last of them is gone, its successor has done.
    await waitUntil(() => before === undefined || startTicksOf(before) === undefined, 'the engine is gone', ANSWER_MS);
    const goneOnMs = await this.#goOn(machineMs());
    if (!this.#limits.interrupted) this.#counts.pausesMs.push(goneOnMs - killedMs);
    this.#counts.show();
  }

  async #killBoth(): Promise<void> {
    const { supervisorPid, enginePid } = this.#gateway;
    if (supervisorPid === undefined || enginePid === undefined) throw new Error('a process of the gateway is gone');
    kill(supervisorPid);
    kill(enginePid);
    this.#counts.both++;
    for (const diary of this.#diaries) await diary.gaveUp(ANSWER_MS);
    await this.#gateway.cleanUpAfterDeath();
    await this.#gateway.mount();
    await this.#stopAndCompare();
  }

  async #stopAndCompare(): Promise<void> {
    const client = new Client();
    try {
      for (const diary of this.#diaries) await diary.stop();
      for (const diary of this.#diaries) {
        const { startBytes, expected } = diary;
        const found = Buffer.alloc(expected.length);
        const fd = await client.call('open', this.#gateway.volume, 0);
        for (let at = 0; at < found.length; at += MIB) {
          found.set(await client.call('read', fd, startBytes + at, Math.min(MIB, found.length - at)), at);
        }
        await client.call('close', fd);
        this.#counts.lost += diary.lostIn(found);
      }
    } finally {
      await client.close();
    }
    for (const diary of this.#diaries) this.#counts.acknowledged += diary.takeAcknowledged();
    this.#counts.show();
  }
}
