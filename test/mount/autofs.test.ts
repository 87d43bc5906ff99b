// autofs(8), as a service with the drop-in that docs/operations.md asks for, in a contained system of its own (see contained-systemd.ts): nothing of it is
// seen by the machine, and everything goes with it. Whatever touches a place where the automounter waits is a child with a bound.

import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { pattern } from '../fuse/conformance.js';
import { ContainedSystemd, noContainedSystemd } from '../support/contained-systemd.js';
import { lacking, waitUntil } from '../support/mounted-commands.js';
import { CACHE_BYTES_MIN, MIB, PCACHE, RUN_PREFIX, mountTest } from '../support/mounted.js';
import { repositoryRoot } from '../support/paths.js';

const UNIT_FOLDER = '/etc/systemd/system';
/** In the foreground it says in the journal what it does. */
const UNIT = `[Service]
Type=exec
ExecStart=automount --foreground --verbose --dont-check-daemon
`;
const VOLUME_BYTES = 16 * MIB;
/** For tests in which nothing may go by itself. */
const NEVER_S = 3600;

/** Why autofs can't be tried here; undefined if it can. */
function whyNoAutofs(): string | undefined {
  const missing = lacking('automount');
  if (missing !== undefined) return missing;
  const isKnown = /\tautofs$/m.test(readFileSync('/proc/filesystems', 'utf8'));
  return isKnown && existsSync('/dev/autofs') ? noContainedSystemd : 'this kernel has no autofs';
}

const lacks = whyNoAutofs();

interface Maps {
  readonly timeoutS: number;
  /** What /etc/auto.pcache says, for /mnt/auto. */
  readonly indirect?: (machine: AutofsMachine) => string;
  /** What /etc/auto.pcache-direct says. */
  readonly direct?: (machine: AutofsMachine) => string;
}

/** A machine with autofs installed, and a cache that is formatted and configured under the name `vol`. */
class AutofsMachine {
  readonly systemd: ContainedSystemd;
  readonly cache: string;
  readonly backing: string;

  private constructor(systemd: ContainedSystemd) {
    this.systemd = systemd;
    this.cache = join(systemd.folder, 'cache.pmem');
    this.backing = join(systemd.folder, 'backing.img');
  }

  /** Undefined, with the reason in the log of the test, if the kernel refuses what it seems to have. */
  static async start(t: ExecutionContext, { timeoutS, indirect, direct }: Maps): Promise<AutofsMachine | undefined> {
    const machine = new AutofsMachine(await ContainedSystemd.start(t, RUN_PREFIX));
    writeFileSync(machine.backing, '');
    truncateSync(machine.backing, VOLUME_BYTES);
    await machine.pcache('format', machine.cache, '--size', String(CACHE_BYTES_MIN));
    await machine.pcache('config', 'install');
    await machine.pcache('config', 'init', 'vol', machine.cache, machine.backing, '/mnt/elsewhere', '-o', 'workers=1');
    const lines: string[] = [];
    if (indirect !== undefined) {
      lines.push(`/mnt/auto /etc/auto.pcache --timeout=${timeoutS}`);
      await machine.writeFile('/etc/auto.pcache', indirect(machine));
    }
    if (direct !== undefined) {
      lines.push(`/- /etc/auto.pcache-direct --timeout=${timeoutS}`);
      await machine.writeFile('/etc/auto.pcache-direct', direct(machine));
    }
    await machine.writeFile('/etc/auto.master', lines.join('\n'));
    await machine.writeFile('/etc/autofs.conf', '[ autofs ]');
    await machine.writeFile(`${UNIT_FOLDER}/autofs.service`, UNIT);
    await machine.writeFile(`${UNIT_FOLDER}/autofs.service.d/pcache.conf`, documentedDropIn());
    await machine.shell('systemctl daemon-reload');
    if (await machine.startAutofs(lines.length)) return machine;
    t.log(`skipped: this kernel refuses autofs: ${await machine.log()}`);
    t.pass();
    return undefined;
  }

  /** @returns whether the kernel lets it, for so many maps */
  async startAutofs(maps: number): Promise<boolean> {
    await this.systemd.ok('systemctl', 'start', 'autofs');
    let isRefused = false;
    const isReady = async (): Promise<boolean> => {
      const places = (await this.shell('cat /proc/self/mountinfo')).split('\n').filter((line) => line.includes(' - autofs '));
      if (places.length >= maps) return true;
      isRefused = /test mount forbidden/.test(await this.log());
      return isRefused;
    };
    await waitUntil(isReady, 'autofs is ready');
    return !isRefused;
  }

  pcache(...args: readonly string[]): Promise<string> {
    return this.systemd.ok(process.execPath, PCACHE, ...args);
  }

  shell(script: string, ...args: readonly string[]): Promise<string> {
    return this.systemd.ok('sh', '-ec', script, 'sh', ...args);
  }

  async writeFile(path: string, text: string): Promise<void> {
    await this.shell('mkdir -p "${1%/*}"; printf "%s\\n" "$2" > "$1"', path, text);
  }

  /** What the automounter said. */
  log(): Promise<string> {
    return this.systemd.ok('journalctl', '-u', 'autofs', '-o', 'cat');
  }

  async write(place: string, bytes: Buffer): Promise<void> {
    const file = join(this.systemd.folder, 'data');
    writeFileSync(file, bytes);
    await this.shell('dd "if=$1" "of=$2/volume.img" bs=64k conv=notrunc,fsync status=none', file, place);
  }

  async holds(place: string, bytes: Buffer): Promise<boolean> {
    const file = join(this.systemd.folder, 'read');
    await this.shell('head -c "$1" "$2/volume.img" > "$3"', String(bytes.length), place, file);
    return readFileSync(file).equals(bytes);
  }

  backingHolds(bytes: Buffer): boolean {
    return readFileSync(this.backing).subarray(0, bytes.length).equals(bytes);
  }

  /** Where volumes are mounted, by the kernel's table: nothing is touched. */
  async mounts(): Promise<string[]> {
    const table = await this.shell('cat /proc/self/mountinfo');
    return [...table.matchAll(/^(?:\S+ ){4}(\S+) .* - fuse\.pcache /gm)].map((match) => match[1]!);
  }

  /** Nobody had to end anything: it is unmounted, the daemon is gone, and the log is closed. */
  async unmountedByItself(t: ExecutionContext): Promise<void> {
    await waitUntil(async () => (await this.mounts()).length === 0, 'it is unmounted');
    await waitUntil(async () => (await this.shell('ls /run/pcache')) === '', 'the daemon is gone');
    t.like(JSON.parse(await this.pcache('--json', 'status', this.cache)), { state: 'idle', closed_in_order: true });
  }

  /** Has the automounter unmount what nobody uses, without waiting for its time. */
  async expire(): Promise<void> {
    await this.systemd.ok('systemctl', 'kill', '--kill-who=main', '-s', 'USR1', 'autofs');
  }
}

/** What docs/operations.md says to put into a drop-in of autofs.service. */
function documentedDropIn(): string {
  const text = readFileSync(join(repositoryRoot, 'docs/operations.md'), 'utf8');
  return /systemctl edit autofs`[^]*?```ini\n([^`]*)```/.exec(text)![1]!;
}

/** A line of the map in docs/operations.md, with the files of this test. */
function documentedLine(key: string, { cache, backing }: AutofsMachine): string {
  const text = readFileSync(join(repositoryRoot, 'docs/operations.md'), 'utf8');
  const line = new RegExp(`^${key} +-fstype=fuse\\.pcache.*$`, 'm').exec(text)![0];
  return line.replace('/fast/cache.pmem', cache).replace('/dev/sdb', backing);
}

mountTest('autofs mounts what somebody uses, unmounts it some time after the last use, and nothing is lost', lacks, async (t) => {
  const machine = await AutofsMachine.start(t, { timeoutS: 2, indirect: (each) => documentedLine('vol', each) });
  if (machine === undefined) return;
  const bytes = pattern(3 * MIB, 1);
  t.deepEqual(await machine.mounts(), []);
  await machine.write('/mnt/auto/vol', bytes);
  await machine.unmountedByItself(t);
  // It comes back, with all that was written, as often as somebody wants it; also while the last daemon is still ending.
  t.true(await machine.holds('/mnt/auto/vol', bytes));
  await waitUntil(async () => (await machine.mounts()).length === 0, 'it is unmounted again');
  t.true(await machine.holds('/mnt/auto/vol', bytes));
  await machine.unmountedByItself(t);
  const count = (said: string, what: string): number => said.split('\n').filter((line) => line === `${what} /mnt/auto/vol`).length;
  await waitUntil(async () => {
    const said = await machine.log();
    return count(said, 'mounted') >= 3 && count(said, 'mounted') === count(said, 'expired');
  }, 'the automounter knows of every end');
});

mountTest('a direct map and the name of a configuration do as well, and what can not be mounted is said', lacks, async (t) => {
  const machine = await AutofsMachine.start(t, {
    timeoutS: NEVER_S,
    indirect: (each) => `named -fstype=fuse.pcache,flush_on_stop :vol\nwrong -fstype=fuse.pcache :/nowhere#${each.backing}`,
    direct: () => '/mnt/direct -fstype=fuse.pcache :vol',
  });
  if (machine === undefined) return;
  const bytes = pattern(2 * MIB, 2);
  await machine.write('/mnt/direct', bytes);
  t.deepEqual(await machine.mounts(), ['/mnt/direct']);
  await machine.expire();
  await machine.unmountedByItself(t);
  t.true(await machine.holds('/mnt/auto/named', bytes));
  t.deepEqual(await machine.mounts(), ['/mnt/auto/named']);
  await machine.expire();
  await machine.unmountedByItself(t);
  t.true(machine.backingHolds(bytes));
  t.not((await machine.systemd.run('ls', ['/mnt/auto/wrong'])).status, 0);
  t.regex(await machine.log(), /pcache: \/nowhere: no such file/);
});

mountTest('a volume in use outlives the automounter, and the next one takes it over', lacks, async (t) => {
  const machine = await AutofsMachine.start(t, { timeoutS: NEVER_S, indirect: (each) => documentedLine('vol', each) });
  if (machine === undefined) return;
  const bytes = pattern(MIB, 3);
  await machine.write('/mnt/auto/vol', bytes);
  await machine.shell('systemd-run --quiet --unit=user sh -c "exec sleep 600 3< /mnt/auto/vol/volume.img"');
  const holder = await machine.systemd.property('user.service', 'MainPID');
  await waitUntil(async () => (await machine.shell(`ls -l /proc/${holder}/fd`)).includes('volume.img'), 'the volume is open');
  await machine.expire();
  await machine.systemd.ok('systemctl', 'stop', 'autofs');
  t.deepEqual(await machine.mounts(), ['/mnt/auto/vol']);
  t.true(await machine.holds('/mnt/auto/vol', bytes));
  t.true(await machine.startAutofs(1));
  await waitUntil(async () => (await machine.log()).includes('re-connected to /mnt/auto/vol'), 'it is taken over');
  await machine.systemd.ok('systemctl', 'stop', 'user');
  t.true(await machine.holds('/mnt/auto/vol', bytes));
  t.deepEqual(await machine.mounts(), ['/mnt/auto/vol']);
  // Nobody uses it any more, so the end of the automounter is its end.
  await machine.systemd.ok('systemctl', 'stop', 'autofs');
  await machine.unmountedByItself(t);
});
