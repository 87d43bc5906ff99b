// The monitor at the other end of an ssh connection, by a real sshd of the test's own: its keys, configuration and log are in a folder of the test, it
// listens on a free port of this machine alone, and lets in nobody but the user who runs the test.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { freePort } from '../support/free-port.js';
import { Job, lacking, run, waitUntil } from '../support/mounted-commands.js';
import { MIB, PCACHE, killIfAlive, mountTest, mounted, type TestGateway } from '../support/mounted.js';
import { isRoot, temporaryFolder } from '../support/tmp.js';
import { Tmux } from './tmux.js';

const HOST = '127.0.0.1';
/** Where sshd of root has to find an empty folder; distributions make it when they start theirs. */
const EMPTY_FOLDER = '/run/sshd';
/** sshd is started again by itself for each connection, and takes its own path for that. */
const SSHD = ['/usr/sbin/sshd', '/usr/local/sbin/sshd', '/usr/bin/sshd'].find((path) => existsSync(path));

const lacks = SSHD === undefined ? 'no sshd on this machine' : lacking('ssh', 'ssh-keygen', 'tmux', 'stty', 'sh');

class SshServer {
  readonly folder: string;
  /** Of the client, up to the command that is to run at the other end. */
  readonly clientArguments: readonly string[];
  readonly #job: Job;

  private constructor(t: ExecutionContext, port: number) {
    this.folder = temporaryFolder(t);
    for (const key of ['host', 'user'])
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', this.#file(key)], { timeout: 30_000 });
    const config = {
      Port: port,
      ListenAddress: HOST,
      HostKey: this.#file('host'),
      PidFile: 'none',
      AuthorizedKeysFile: this.#file('user.pub'),
      // The folder above is for everybody.
      StrictModes: 'no',
      PermitRootLogin: 'prohibit-password',
      PasswordAuthentication: 'no',
      KbdInteractiveAuthentication: 'no',
      UsePAM: 'no',
      PrintMotd: 'no',
      PrintLastLog: 'no',
    };
    writeFileSync(this.#file('config'), lines(config, ' '));
    writeFileSync(this.#file('known'), `[${HOST}]:${port} ${readFileSync(this.#file('host.pub'), 'utf8')}`);
    const options = {
      IdentityFile: this.#file('user'),
      IdentitiesOnly: 'yes',
      IdentityAgent: 'none',
      BatchMode: 'yes',
      StrictHostKeyChecking: 'yes',
      UserKnownHostsFile: this.#file('known'),
      GlobalKnownHostsFile: '/dev/null',
      ControlPath: 'none',
      LogLevel: 'ERROR',
    };
    const given = lines(options, '=').trim().split('\n');
    this.clientArguments = [
      '-F',
      '/dev/null',
      ...given.flatMap((option) => ['-o', option]),
      '-p',
      String(port),
      `${userInfo().username}@${HOST}`,
    ];
    this.#job = new Job(SSHD!, ['-D', '-f', this.#file('config'), '-E', this.#file('log')]);
  }

  /** Undefined, with the reason in the log of the test, if this user may not log in at all. */
  static async start(t: ExecutionContext): Promise<SshServer | undefined> {
    if (isRoot && !existsSync(EMPTY_FOLDER)) {
      mkdirSync(EMPTY_FOLDER, { mode: 0o755 });
      t.teardown(() => rmdirSync(EMPTY_FOLDER));
    }
    const server = new SshServer(t, await freePort(HOST));
    t.teardown(() => server.#end());
    await waitUntil(() => server.#job.ended || server.log().includes('Server listening'), 'sshd listens');
    const { status, stderr } = await run('ssh', [...server.clientArguments, 'true']);
    if (status === 0) return server;
    if (!/not allowed because|account is locked|nologin/.test(server.log())) throw new Error(`ssh: ${stderr}${server.log()}`);
    t.log(`skipped: this user may not log in: ${server.log()}`);
    t.pass();
    return undefined;
  }

  log(): string {
    return existsSync(this.#file('log')) ? readFileSync(this.#file('log'), 'utf8') : '';
  }

  /** Waits for the ends of its connections, whose clients are gone. */
  async #end(): Promise<void> {
    try {
      await waitUntil(() => childrenOf(this.#job.child.pid!).length === 0, 'the connections end');
    } finally {
      for (const pid of childrenOf(this.#job.child.pid!)) killIfAlive(pid);
      await this.#job.end();
    }
  }

  #file(name: string): string {
    return join(this.folder, name);
  }
}

function lines(settings: Readonly<Record<string, string | number>>, between: string): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name}${between}${value}\n`)
    .join('');
}

function childrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && parentOf(pid) === parent);
}

function parentOf(pid: number): number | undefined {
  try {
    return Number(/^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  } catch {
    // It has ended meanwhile.
    return undefined;
  }
}

interface Watched {
  readonly gateway: TestGateway;
  readonly tmux: Tmux;
  readonly before: Awaited<ReturnType<Tmux['state']>>;
}

/** A mounted volume, and on a terminal an ssh client with the monitor of it at the other end. */
async function watchedOverSsh(t: ExecutionContext): Promise<Watched | undefined> {
  const gateway = await mounted(t, { volumeBytes: 64 * MIB });
  const server = await SshServer.start(t);
  if (server === undefined) return undefined;
  const tmux = new Tmux(t, { columns: 80, rows: 24 });
  const before = await tmux.state('before');
  const environment = `LC_ALL=C.UTF-8 PCACHE_RUNTIME_DIR=${gateway.runtimeDirectory}`;
  const remote = `echo $$ >${tmux.folder}/monitor.pid; exec env ${environment} ${process.execPath} ${PCACHE} monitor ${gateway.mountpoint}`;
  const words = ['-tt', ...server.clientArguments, remote].map((word) => `'${word}'`);
  writeFileSync(join(tmux.folder, 'ssh.sh'), `echo $$ >'${tmux.folder}/ssh.pid'\nexec ssh ${words.join(' ')}\n`);
  tmux.run(`sh '${tmux.folder}/ssh.sh'`);
  await tmux.shows(/serving .* up/);
  return { gateway, tmux, before };
}

function pidIn({ tmux }: Watched, name: 'monitor' | 'ssh'): number {
  return Number(readFileSync(join(tmux.folder, `${name}.pid`), 'utf8'));
}

mountTest('over ssh the monitor draws, obeys keys, follows the size of the window, and leaves the terminal as it was', lacks, async (t) => {
  const watching = await watchedOverSsh(t);
  if (watching === undefined) return;
  const { gateway, tmux, before } = watching;
  const rowsShown = (): string[] => tmux.screen().replace(/\n$/, '').split('\n');
  t.regex(await tmux.shows(/All data is on the backing device/), /SAFETY[^]*CACHE[^]*LOG/);
  tmux.keys('p');
  await tmux.shows(/Writeback is paused/);
  t.true((await gateway.status()).writeback_paused);
  for (const [columns, rows] of [
    [120, 40],
    [70, 20],
  ] as const) {
    tmux.resize(columns, rows);
    await waitUntil(
      () => rowsShown()[rows - 1]?.endsWith('quit') === true && rowsShown()[1]?.startsWith(' \u25cf') === true,
      `${columns} x ${rows} is drawn`,
    );
    t.true(rowsShown().every((row) => row.length <= columns));
  }
  tmux.keys('q');
  t.is(await tmux.ended(), 0);
  t.notRegex(tmux.screen(), /SAFETY|quit/);
  t.deepEqual(await tmux.state('after'), before);
  t.is((await gateway.status()).state, 'serving');
});

mountTest('an ssh connection that is cut takes the monitor with it, and the gateway goes on', lacks, async (t) => {
  const watching = await watchedOverSsh(t);
  if (watching === undefined) return;
  const { gateway } = watching;
  const monitor = pidIn(watching, 'monitor');
  t.true(gateway.processes().includes(monitor));
  process.kill(pidIn(watching, 'ssh'), 'SIGKILL');
  await waitUntil(() => !gateway.processes().includes(monitor), 'the monitor ends');
  t.is((await gateway.status()).state, 'serving');
  await gateway.umount();
});
