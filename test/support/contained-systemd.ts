// systemd as process 1 of namespaces of its own, for tests of what the system does with a unit. It has its own mounts, processes, network, host name and
// control groups; of this machine it sees programs, read only, and one folder. It has only the units that are needed, and neither devices nor udev.
//
// Invariant: whatever becomes of the test, nothing stays: a shell waits for the end of its input, which the death of the test process is too, and then
// ends everything in the control group, and with the last process go the mounts.

import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { spawn, type ChildProcess } from 'node:child_process';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { readMounts } from '../../src/fuse/mountinfo.js';
import { lacking, run, waitUntil, within, type CommandResult } from './mounted-commands.js';
import { repositoryRoot } from './paths.js';
import { isRoot } from './tmp.js';

const SYSTEMD = '/usr/lib/systemd/systemd';
const START_MS = 30_000;

/** Starts what is contained in the control group $1, and ends it with its input. $2 is the folder. */
const KEEPER = `
mkdir "$1"
(echo 0 > "$1/cgroup.procs" && exec unshare --fork --pid --mount --uts --ipc --net --cgroup --propagation private sh -e "$2/inside.sh" "$2") < /dev/null &
cat > /dev/null
for again in 1 2 3 4 5 6 7 8 9 10; do
  echo 1 > "$1/cgroup.kill"
  find "$1" -depth -type d -exec rmdir {} + 2> /dev/null
  [ -e "$1" ] || break
  sleep 0.2
done
wait
rm -rf "$2"
`;

/** Process 1 until it becomes systemd. $1 is the folder. The root is a tmpfs with little more than /usr. */
const INSIDE = `
read -r pid rest < /proc/self/stat
R="$1/root"
mkdir "$R"
mount -t tmpfs -o mode=755 none "$R"
show() {
  mkdir -p "$R$1"
  mount --bind "$1" "$R$1"
  mount -o "remount,bind,$2" "$R$1"
}
for name in bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$name" ]; then cp -P "/$name" "$R/"; elif [ -d "/$name" ]; then show "/$name" ro; fi
done
cd "$R"
mkdir -p dev etc/systemd/system mnt proc root run sys tmp usr var/log
show /usr ro
show "$NODE_FOLDER" ro
show "$REPOSITORY" ro
show "$1" rw
for name in passwd group nsswitch.conf ld.so.cache; do
  if [ -e "/etc/$name" ]; then cp "/etc/$name" etc/; fi
done
tr -d - < /proc/sys/kernel/random/uuid > etc/machine-id
echo contained > etc/hostname
printf '[Journal]\\nStorage=volatile\\n' > etc/systemd/journald.conf
ln -s ../run var/run
for name in null zero full random urandom tty fuse autofs; do
  if [ -e "/dev/$name" ]; then
    : > "dev/$name"
    mount --bind "/dev/$name" "dev/$name"
  fi
done
mkdir dev/shm dev/pts
ln -s /proc/self/fd dev/fd
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t fusectl fusectl sys/fs/fuse/connections

# Of the machine's units its targets, with what orders them, and the journal; of its generators the one for fstab.
mkdir -p tmp/units tmp/generators
cp -L usr/lib/systemd/system/*.target usr/lib/systemd/system/systemd-journald*.service usr/lib/systemd/system/systemd-journald*.socket \\
  usr/lib/systemd/system/systemd-poweroff.service tmp/units/
cp usr/lib/systemd/system-generators/systemd-fstab-generator tmp/generators/
mount --bind tmp/units usr/lib/systemd/system
mount --bind tmp/generators usr/lib/systemd/system-generators
printf '[Unit]\\nRequires=basic.target\\nWants=multi-user.target systemd-journald.service\\nAfter=basic.target multi-user.target\\nAllowIsolate=yes\\n' \\
  > etc/systemd/system/default.target
# Where mount helpers are installed.
mkdir "$1/sbin"
mount -t tmpfs none "$1/sbin"
mkdir "$1/sbin/upper" "$1/sbin/work"
mount -t overlay -o "lowerdir=/usr/sbin,upperdir=$1/sbin/upper,workdir=$1/sbin/work" overlay "$R/usr/sbin"

mkdir run/old
pivot_root . run/old
umount -l /run/old
rmdir /run/old
hostname contained
echo "$pid" > "$1/pid"
exec env -i container=pcache-test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
  setpriv --bounding-set=-sys_boot,-sys_module,-sys_time,-sys_rawio ${SYSTEMD} --system --log-target=journal --show-status=no
`;

/** Why no systemd can be run beside that of this machine; undefined if it can. */
export const noContainedSystemd = whyNot();

function whyNot(): string | undefined {
  if (!isRoot) return 'needs root';
  if (!existsSync(SYSTEMD)) return `no ${SYSTEMD} on this machine`;
  const missing = lacking('unshare', 'nsenter', 'setpriv', 'pivot_root', 'systemctl', 'journalctl');
  if (missing !== undefined) return missing;
  const folder = ownControlGroup();
  if (folder === undefined) return 'no control groups of version 2';
  const probe = join(folder, `pcache-probe-${process.pid}`);
  try {
    mkdirSync(probe);
    try {
      accessSync(join(probe, 'cgroup.kill'), constants.W_OK);
    } finally {
      rmdirSync(probe);
    }
  } catch {
    return 'no control group of its own can be made';
  }
  return undefined;
}

/** The folder of this process's control group in the hierarchy of version 2, wherever that is mounted. */
function ownControlGroup(): string | undefined {
  const mount = readMounts().findLast(({ type }) => type === 'cgroup2');
  const path = /^0::(\/.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1];
  return mount === undefined || path === undefined ? undefined : join(mount.mountpoint, path);
}

export class ContainedSystemd {
  /** The one folder of the machine that can be written, under the same path inside. */
  readonly folder: string;
  readonly #keeper: ChildProcess;
  readonly #ended: Promise<unknown>;
  #pid = 0;

  private constructor(prefix: string) {
    this.folder = realpathSync(mkdtempSync(join(tmpdir(), prefix)));
    writeFileSync(join(this.folder, 'inside.sh'), INSIDE);
    const group = join(ownControlGroup()!, `pcache-test-${process.pid}-${this.folder.slice(-6)}`);
    this.#keeper = spawn('sh', ['-c', KEEPER, 'sh', group, this.folder], {
      // Whoever ends the test with Ctrl-C must not end what cleans up.
      detached: true,
      stdio: ['pipe', 'ignore', 'inherit'],
      env: { ...process.env, NODE_FOLDER: dirname(realpathSync(process.execPath)), REPOSITORY: repositoryRoot },
    });
    this.#ended = new Promise((resolve) => this.#keeper.once('close', resolve));
  }

  /** Up and idle, for the duration of a test. */
  static async start(t: ExecutionContext, prefix: string): Promise<ContainedSystemd> {
    const systemd = new ContainedSystemd(prefix);
    t.teardown(() => systemd.dispose());
    const pidFile = join(systemd.folder, 'pid');
    await waitUntil(() => existsSync(pidFile) && readFileSync(pidFile, 'utf8').endsWith('\n'), 'process 1 starts', START_MS);
    systemd.#pid = Number(readFileSync(pidFile, 'utf8'));
    await waitUntil(
      async () => /^(running|degraded)$/m.test((await systemd.run('systemctl', ['is-system-running'])).stdout),
      'systemd is up',
      START_MS,
    );
    return systemd;
  }

  /** Runs a program inside. */
  run(program: string, args: readonly string[], timeoutMs?: number): Promise<CommandResult> {
    return run('nsenter', ['-t', String(this.#pid), '-m', '-p', '-u', '-i', '-n', '-C', '--', program, ...args], {
      // What the machine's environment names may not be there.
      env: { NODE_EXTRA_CA_CERTS: undefined, XDG_RUNTIME_DIR: undefined, SYSTEMD_COLORS: '0', SYSTEMD_PAGER: '', COLUMNS: '400' },
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
  }

  /** As `run`; rejects with what the program said, and the end of the journal, if its status is not 0. @returns its output, trimmed */
  async ok(program: string, ...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await this.run(program, args);
    if (status === 0) return stdout.trim();
    const journal = await this.run('journalctl', ['-b', '-n', '30', '-o', 'cat']);
    throw new Error(`${program} ${args.join(' ')}: status ${status ?? 'killed'}: ${stderr}${stdout}\n${journal.stdout}`);
  }

  /** A property of a unit, as `systemctl show -P`. */
  property(unit: string, name: string): Promise<string> {
    return this.ok('systemctl', 'show', '-P', name, unit);
  }

  /** Powers it off, and waits until nothing of it is left. */
  async powerOff(): Promise<void> {
    await this.ok('systemctl', 'poweroff', '--no-block');
    await waitUntil(() => !existsSync(`/proc/${this.#pid}`), 'it is powered off', START_MS);
  }

  async dispose(): Promise<void> {
    this.#keeper.stdin?.end();
    await within(this.#ended, 'everything contained is gone');
    rmSync(this.folder, { recursive: true, force: true });
  }
}
