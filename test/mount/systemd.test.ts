// The unit under a real systemd, which is process 1 of namespaces of its own (see contained-systemd.ts).

import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { pattern } from '../fuse/conformance.js';
import { ContainedSystemd, noContainedSystemd } from '../support/contained-systemd.js';
import { Job, waitUntil } from '../support/mounted-commands.js';
import { CACHE_BYTES_MIN, MIB, PCACHE, RUN_PREFIX, mountTest } from '../support/mounted.js';

const UNIT = 'pcache@vol.service';
const MOUNTPOINT = '/mnt/vol';
const VOLUME = `${MOUNTPOINT}/volume.img`;
/** What systemd is asked for is done, or said to have failed, sooner than by itself. */
const SOON = 'RestartSec=500ms';

class Machine {
  readonly systemd: ContainedSystemd;
  readonly cache: string;
  readonly backing: string;

  private constructor(systemd: ContainedSystemd) {
    this.systemd = systemd;
    this.cache = join(systemd.folder, 'cache.pmem');
    this.backing = join(systemd.folder, 'backing.img');
  }

  /** A machine with everything installed and configured, and nothing started. */
  static async start(
    t: ExecutionContext,
    { options = 'workers=1', service = [SOON] }: { options?: string; service?: string[] } = {},
  ): Promise<Machine> {
    const machine = new Machine(await ContainedSystemd.start(t, RUN_PREFIX));
    writeFileSync(machine.backing, '');
    truncateSync(machine.backing, 16 * MIB);
    await machine.pcache('format', machine.cache, '--size', String(CACHE_BYTES_MIN));
    await machine.pcache('config', 'install');
    await machine.pcache('config', 'init', 'vol', machine.cache, machine.backing, MOUNTPOINT, '-o', options);
    // Where the folder is in memory, `config init` sets it by itself.
    if (!options.includes('flush_on_stop')) await machine.shell(`sed -i 's/^  flush_on_stop/  #&/' /etc/pcache/vol.yaml`);
    await machine.shell(`mkdir ${MOUNTPOINT}`);
    await machine.dropIn(service);
    return machine;
  }

  pcache(...args: readonly string[]): Promise<string> {
    return this.systemd.ok(process.execPath, PCACHE, ...args);
  }

  shell(script: string, ...args: readonly string[]): Promise<string> {
    return this.systemd.ok('sh', '-ec', script, 'sh', ...args);
  }

  systemctl(...args: readonly string[]): Promise<string> {
    return this.systemd.ok('systemctl', ...args);
  }

  property(name: string): Promise<string> {
    return this.systemd.property(UNIT, name);
  }

  async dropIn(lines: readonly string[]): Promise<void> {
    const folder = `/etc/systemd/system/${UNIT}.d`;
    await this.shell(`mkdir -p ${folder}; printf '%s\\n' '[Service]' "$@" > ${folder}/test.conf; systemctl daemon-reload`, ...lines);
  }

  async waitFor(name: string, value: string | RegExp): Promise<void> {
    const isThere = async (): Promise<boolean> => {
      const now = await this.property(name);
      return typeof value === 'string' ? now === value : value.test(now);
    };
    await waitUntil(isThere, `${UNIT}: ${name} is ${String(value)}`);
  }

  async write(bytes: Buffer): Promise<void> {
    const file = join(this.systemd.folder, 'data');
    writeFileSync(file, bytes);
    await this.shell(`dd "if=$1" of=${VOLUME} bs=64k conv=notrunc,fsync status=none`, file);
  }

  async holds(bytes: Buffer): Promise<boolean> {
    const file = join(this.systemd.folder, 'read');
    await this.shell(`head -c ${bytes.length} ${VOLUME} > "$1"`, file);
    return readFileSync(file).equals(bytes);
  }

  backingHolds(bytes: Buffer): boolean {
    return readFileSync(this.backing).subarray(0, bytes.length).equals(bytes);
  }

  /** Pids of the unit's processes, the main one first. As they are inside. */
  async processes(): Promise<string[]> {
    const group = await this.property('ControlGroup');
    const main = await this.property('MainPID');
    const pids = group === '' ? '' : await this.shell(`cat "/sys/fs/cgroup$1/cgroup.procs" 2> /dev/null || true`, group);
    return pids
      .split('\n')
      .filter((pid) => pid !== '' && pid !== main)
      .concat(main === '0' ? [] : [main])
      .reverse();
  }

  async enginePid(): Promise<string> {
    const pids = await this.pcache('--json', 'status', MOUNTPOINT);
    return String((JSON.parse(pids) as { engine_pid: number }).engine_pid);
  }

  /** Messages of the unit that are at least as grave as a level. */
  journal(level: string): Promise<string> {
    return this.systemd.ok('journalctl', '-u', UNIT, '-p', level, '-o', 'cat', '_SYSTEMD_UNIT=' + UNIT);
  }

  /** It was stopped, and nothing of it is left. */
  async isGone(t: ExecutionContext): Promise<void> {
    t.deepEqual(await this.processes(), []);
    t.is(await this.shell(`grep -c fuse.pcache /proc/self/mountinfo || true`), '0');
    t.is(await this.shell('ls /run/pcache'), '');
    t.like(JSON.parse(await this.pcache('--json', 'status', this.cache)), { state: 'idle', closed_in_order: true });
  }
}

mountTest(
  'systemd starts the unit when the volume can be read, shows how it is, and a stop writes back and leaves nothing',
  noContainedSystemd,
  async (t) => {
    const machine = await Machine.start(t, { options: 'workers=1,flush_on_stop' });
    await machine.systemctl('enable', '--now', UNIT);
    t.is(await machine.property('ActiveState'), 'active');
    const bytes = pattern(3 * MIB, 1);
    await machine.write(bytes);
    await machine.waitFor('StatusText', /^serving, (nothing|\d.* MiB) dirty$/);
    t.regex(await machine.systemctl('status', '--no-pager', UNIT), /Status: "serving, .*\n[^]*pcache\[\d+\]: engine: serving /);
    await machine.systemctl('stop', UNIT);
    t.is(await machine.property('ActiveState'), 'inactive');
    t.is(await machine.property('Result'), 'success');
    await machine.isGone(t);
    t.true(machine.backingHolds(bytes));
    t.regex(await machine.journal('info'), /engine: the log is closed; everything is on /);
    t.regex(await machine.journal('warning'), /^(supervisor: not protected .*)?$/);
  },
);

mountTest(
  'a killed engine is no event for systemd; a killed supervisor is replaced, and nothing is lost',
  noContainedSystemd,
  async (t) => {
    const machine = await Machine.start(t);
    await machine.shell('echo "log: journal" >> /etc/pcache/vol.yaml');
    await machine.systemctl('start', UNIT);
    const bytes = pattern(2 * MIB, 2);
    await machine.write(bytes);
    const main = await machine.property('MainPID');
    await machine.shell('kill -9 "$1"', await machine.enginePid());
    t.true(await machine.holds(bytes));
    t.is(await machine.property('MainPID'), main);
    t.is(await machine.property('NRestarts'), '0');
    t.regex(await machine.journal('err'), /supervisor: the engine died/);
    t.notRegex(await machine.journal('err'), /engine: serving/);
    await machine.shell('kill -9 "$1"', main);
    await waitUntil(
      async () => (await machine.property('NRestarts')) !== '0' && (await machine.property('ActiveState')) === 'active',
      'another starts',
    );
    t.not(await machine.property('MainPID'), main);
    t.true(await machine.holds(bytes));
    await machine.systemctl('stop', UNIT);
    await machine.isGone(t);
  },
);

mountTest(
  'an engine that hangs is replaced before the watchdog fires, a supervisor that hangs by the watchdog',
  noContainedSystemd,
  async (t) => {
    const machine = await Machine.start(t, { service: [SOON, 'WatchdogSec=6s'] });
    await machine.systemctl('start', UNIT);
    const bytes = pattern(2 * MIB, 3);
    await machine.write(bytes);
    const main = await machine.property('MainPID');
    const engine = await machine.enginePid();
    await machine.shell('kill -STOP "$1"', engine);
    t.true(await machine.holds(bytes));
    t.not(await machine.enginePid(), engine);
    t.is(await machine.property('MainPID'), main);
    t.is(await machine.property('NRestarts'), '0');
    await machine.shell('kill -STOP "$1"', main);
    await waitUntil(
      async () => (await machine.property('NRestarts')) !== '0' && (await machine.property('ActiveState')) === 'active',
      'another starts',
    );
    t.regex(await machine.systemd.ok('journalctl', '-u', UNIT, '-o', 'cat'), /Watchdog timeout \(limit 6s\)/);
    t.true(await machine.holds(bytes));
    await machine.systemctl('stop', UNIT);
    await machine.isGone(t);
  },
);

mountTest('a service of which everything was killed at once starts again by itself', noContainedSystemd, async (t) => {
  const machine = await Machine.start(t);
  await machine.systemctl('start', UNIT);
  const bytes = pattern(2 * MIB, 5);
  await machine.write(bytes);
  await machine.systemctl('kill', '-s', 'KILL', UNIT);
  await machine.waitFor('NRestarts', /^[1-9]/);
  await machine.waitFor('ActiveState', 'active');
  t.true(await machine.holds(bytes));
  t.regex(await machine.systemd.ok('journalctl', '-u', UNIT, '-o', 'cat'), /the last daemon was dead; its mount is taken away/);
  await machine.systemctl('stop', UNIT);
  await machine.isGone(t);
});

mountTest('a volume in use outlives the stop, which says by whom, and is gone with its last user', noContainedSystemd, async (t) => {
  const machine = await Machine.start(t, { service: [SOON, 'TimeoutStopSec=3s'] });
  await machine.systemctl('start', UNIT);
  const bytes = pattern(MIB, 4);
  await machine.write(bytes);
  await machine.shell(`systemd-run --quiet --unit=user sh -c 'exec sleep 600 3< ${VOLUME}'`);
  const holder = await machine.systemd.property('user.service', 'MainPID');
  await waitUntil(async () => (await machine.shell(`ls -l /proc/${holder}/fd`)).includes('volume.img'), 'the volume is open');
  await machine.systemctl('stop', '--no-block', UNIT);
  await machine.waitFor('StatusText', new RegExp(`^in use by .*\\(${holder}\\).*: still serving until they are gone$`));
  await machine.waitFor('ActiveState', 'failed');
  t.is(await machine.property('Result'), 'timeout');
  t.true(await machine.holds(bytes));
  t.not((await machine.systemd.run('systemctl', ['start', UNIT])).status, 0);
  t.true(await machine.holds(bytes));
  await machine.systemctl('stop', 'user.service');
  // The start that was refused goes on trying.
  await machine.waitFor('ActiveState', 'active');
  t.true(await machine.holds(bytes));
  await machine.systemctl('stop', UNIT);
  await machine.isGone(t);
});

mountTest('a wrong configuration is said and not tried again, what may pass is, ten times', noContainedSystemd, async (t) => {
  const machine = await Machine.start(t, { service: ['RestartSec=1ms'] });
  await machine.shell('cd /etc/pcache; sed "s,^backing:.*,backing: /nowhere," vol.yaml > other.yaml; echo "bogus: 1" >> vol.yaml');
  t.not((await machine.systemd.run('systemctl', ['start', UNIT])).status, 0);
  t.is(await machine.property('ActiveState'), 'failed');
  t.is(await machine.property('NRestarts'), '0');
  t.regex(
    await machine.systemd.run('systemctl', ['status', UNIT]).then(({ stdout }) => stdout),
    /pcache: \/etc\/pcache\/vol\.yaml:\d+: bogus: unknown key/,
  );
  await machine.shell(
    'mkdir "$1.d"; printf "[Service]\\nRestartSec=1ms\\n" > "$1.d/test.conf"; systemctl daemon-reload',
    '/etc/systemd/system/pcache@other.service',
  );
  t.not((await machine.systemd.run('systemctl', ['start', 'pcache@other'])).status, 0);
  await waitUntil(async () => (await machine.systemd.property('pcache@other', 'ActiveState')) === 'failed', 'it is given up');
  t.is(await machine.systemd.property('pcache@other', 'NRestarts'), '10');
  // A name that nobody has configured is no error: the unit may be enabled before.
  await machine.systemctl('start', 'pcache@nobody');
  t.is(await machine.systemd.property('pcache@nobody', 'ConditionResult'), 'no');
});

mountTest(
  'a machine that is powered off ends the users of the volume first, and then has everything written back',
  noContainedSystemd,
  async (t) => {
    const machine = await Machine.start(t, { options: 'workers=1,flush_on_stop' });
    await machine.systemctl('start', UNIT);
    const bytes = pattern(3 * MIB, 6);
    const file = join(machine.systemd.folder, 'data');
    writeFileSync(file, bytes);
    // Writes when it is told to end.
    const user = `[Unit]
Requires=${UNIT}
After=${UNIT}
[Service]
ExecStart=/bin/sh -c 'trap "dd if=${file} of=${VOLUME} bs=64k conv=notrunc status=none; exit 0" TERM; exec 3< ${VOLUME}; while :; do sleep 0.1; done'
`;
    await machine.shell('printf %s "$1" > /etc/systemd/system/user.service; systemctl daemon-reload; systemctl start user', user);
    await machine.systemd.powerOff();
    t.true(machine.backingHolds(bytes));
    const status = new Job(process.execPath, [PCACHE, '--json', 'status', machine.cache]);
    t.like(JSON.parse((await status.finished()).stdout), { state: 'idle', closed_in_order: true });
  },
);

mountTest('systemd mounts and unmounts what /etc/fstab says, and mounts by itself what somebody uses', noContainedSystemd, async (t) => {
  const machine = await Machine.start(t);
  await machine.shell(
    'mkdir /mnt/auto; printf "%s\\n" "$@" > /etc/fstab; systemctl daemon-reload',
    ...[
      `${machine.cache}#${machine.backing} ${MOUNTPOINT} fuse.pcache nofail,_netdev,x-systemd.requires-mounts-for=${machine.systemd.folder},log=journal,workers=1,flush_on_stop 0 0`,
      'vol /mnt/auto fuse.pcache nofail,x-systemd.automount 0 0',
    ],
  );
  t.regex(await machine.systemd.property('mnt-vol.mount', 'After'), /(^| )remote-fs-pre\.target( |$)/);
  await machine.systemctl('start', 'mnt-vol.mount');
  const bytes = pattern(MIB, 7);
  await machine.write(bytes);
  await machine.systemctl('stop', 'mnt-vol.mount');
  await waitUntil(() => machine.backingHolds(bytes), 'everything is written back');
  await waitUntil(async () => (await machine.shell('ls /run/pcache')) === '', 'the daemon is gone');
  await machine.isGone(t);
  await machine.shell('mount /mnt/vol');
  t.true(await machine.holds(bytes));
  await machine.shell('umount /mnt/vol');
  const started = await machine.systemd.run('systemctl', ['start', 'mnt-auto.automount']);
  if (started.status !== 0) {
    t.log(`skipped: the automounter: ${started.stderr}`);
    return;
  }
  for (const time of [1, 2]) {
    t.regex(await machine.shell('ls /mnt/auto'), /volume\.img/, `time ${time}`);
    t.is(await machine.systemd.property('mnt-auto.mount', 'ActiveState'), 'active');
    await machine.shell(`head -c ${bytes.length} /mnt/auto/volume.img > "$1"`, join(machine.systemd.folder, 'read'));
    t.true(readFileSync(join(machine.systemd.folder, 'read')).equals(bytes));
    await machine.systemctl('stop', 'mnt-auto.mount');
    await waitUntil(async () => (await machine.shell('ls /run/pcache')) === '', 'the daemon is gone');
  }
  await machine.systemctl('stop', 'mnt-auto.automount');
});
