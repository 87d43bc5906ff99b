// The monitor's connection, to a gateway that is made up: a server on a socket that answers as a test says.

import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ControlClient } from '../../src/gateway/control-client.js';
import type { SegmentMap } from '../../src/gateway/control-protocol.js';
import type { StatusSnapshot } from '../../src/gateway/status.js';
import { Connection, type Endpoint, type GatewayEnd } from '../../src/monitor/connection.js';
import type { Link } from '../../src/monitor/picture.js';
import { waitUntil } from '../support/mounted-commands.js';
import { temporaryFolder } from '../support/tmp.js';
import { SEGMENTS, quietStatus } from './pictures.js';

type Answer = { result: unknown } | { error: { code: string; message: string } } | 'none';

class FakeEngine {
  readonly asked: string[] = [];
  answers: Record<string, Answer> = { status: { result: quietStatus() }, segments: { result: SEGMENTS }, wait_end: 'none' };
  readonly #sockets = new Set<Socket>();
  readonly #waiting: { socket: Socket; id: number }[] = [];
  #server: Server | undefined;

  listen(path: string): Promise<void> {
    const server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('data', (chunk) => {
        for (const line of chunk.toString().trim().split('\n')) this.#answer(socket, JSON.parse(line) as { id: number; op: string });
      });
    });
    this.#server = server;
    return new Promise((resolve) => server.listen(path, resolve));
  }

  /** Answers `wait_end`. */
  end(last: StatusSnapshot): void {
    for (const { socket, id } of this.#waiting) socket.write(`${JSON.stringify({ id, ok: true, result: last })}\n`);
  }

  die(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server?.close();
  }

  #answer(socket: Socket, { id, op }: { id: number; op: string }): void {
    this.asked.push(op);
    const answer = this.answers[op] ?? 'none';
    if (op === 'wait_end') this.#waiting.push({ socket, id });
    if (answer === 'none') return;
    const body = 'error' in answer ? { id, ok: false, error: answer.error } : { id, ok: true, result: answer.result };
    socket.write(`${JSON.stringify(body)}\n`);
  }
}

interface Rig {
  readonly path: string;
  readonly engine: FakeEngine;
  readonly world: { supervisorLives: boolean; engineLives: boolean; isMounted: boolean; failure: string | undefined };
  readonly links: Link['kind'][];
  readonly statuses: StatusSnapshot[];
  readonly maps: SegmentMap[];
  readonly connection: Connection;
  readonly end: Promise<GatewayEnd | undefined>;
  readonly aborter: AbortController;
}

async function rig(t: ExecutionContext, engine = new FakeEngine()): Promise<Rig> {
  t.timeout(30_000);
  const path = join(temporaryFolder(t), 'control.sock');
  await engine.listen(path);
  const world: Rig['world'] = { supervisorLives: true, engineLives: false, isMounted: true, failure: undefined };
  const endpoint: Endpoint = {
    connect: () => ControlClient.connect(path),
    supervisorLives: () => world.supervisorLives,
    isMounted: () => world.isMounted,
    processLives: (pid) => world.engineLives && pid === quietStatus().engine_pid,
    failure: () => world.failure,
  };
  const [links, statuses, maps]: [Link['kind'][], StatusSnapshot[], SegmentMap[]] = [[], [], []];
  const connection = new Connection(endpoint, {
    onStatus: (status) => statuses.push(status),
    onSegments: (map) => maps.push(map),
    onLink: ({ kind }) => links.push(kind),
    onTick: () => undefined,
    cellsWanted: () => 100,
  });
  const aborter = new AbortController();
  const end = connection.run(aborter.signal);
  t.teardown(async () => {
    aborter.abort();
    engine.die();
    await end.catch(() => undefined);
  });
  await waitUntil(() => statuses.length > 0, 'the first status is there');
  return { path, engine, world, links, statuses, maps, connection, end, aborter };
}

test('the status and the map come by themselves, until the user has enough', async (t) => {
  const { links, statuses, maps, aborter, end } = await rig(t);
  await waitUntil(() => statuses.length > 1 && maps.length > 0, 'more comes');
  t.deepEqual(links, ['serving']);
  t.deepEqual(maps[0], SEGMENTS);
  aborter.abort();
  t.is(await end, undefined);
});

test('a dead engine is waited for while the supervisor lives, and the next one is taken', async (t) => {
  const { engine, links, statuses, path } = await rig(t);
  engine.die();
  await waitUntil(() => links.includes('restarting'), 'the death is seen');
  const next = new FakeEngine();
  next.answers.status = { result: quietStatus({ engine_restarts: 1 }) };
  await next.listen(path);
  t.teardown(() => next.die());
  await waitUntil(() => statuses.at(-1)?.engine_restarts === 1, 'the next engine answers');
  t.deepEqual(links, ['serving', 'restarting', 'serving']);
});

test('an orderly end is told with the last status', async (t) => {
  const { engine, world, end } = await rig(t);
  world.supervisorLives = false;
  world.isMounted = false;
  engine.end(quietStatus({ dirty_bytes: 4096 }));
  const ended = await end;
  t.is(ended?.kind, 'unmounted');
  t.is(ended?.kind === 'unmounted' ? ended.last?.dirty_bytes : undefined, 4096);
});

test('without supervisor, engine and mount it has ended: in order if there is no log that says otherwise', async (t) => {
  const { engine, world, end } = await rig(t);
  world.supervisorLives = false;
  world.isMounted = false;
  engine.die();
  t.deepEqual(await end, { kind: 'unmounted', last: undefined });
});

test('a gateway that has left a reason died of it', async (t) => {
  const { engine, world, end } = await rig(t);
  Object.assign(world, { supervisorLives: false, isMounted: false, failure: 'the engine keeps dying' });
  engine.die();
  t.deepEqual(await end, { kind: 'died', why: 'the engine keeps dying' });
});

test('a mount that nobody serves any more is told as dead after a while', async (t) => {
  const { engine, world, links, end } = await rig(t);
  world.supervisorLives = false;
  engine.die();
  t.deepEqual(await end, { kind: 'died', why: 'its supervisor and its engine are dead' });
  t.deepEqual(links, ['serving', 'dead']);
});

test('an engine without a supervisor is not told as dead while its process lives', async (t) => {
  const { engine, world, links, end } = await rig(t);
  Object.assign(world, { supervisorLives: false, engineLives: true });
  engine.die();
  await waitUntil(() => links.includes('orphaned'), 'the death of the supervisor is seen');
  world.isMounted = false;
  t.deepEqual(await end, { kind: 'unmounted', last: undefined });
  t.false(links.includes('dead'));
});

test('an engine that does not answer is told, and heard again when it does', async (t) => {
  const { engine, links } = await rig(t);
  engine.answers.status = 'none';
  await waitUntil(() => links.at(-1) === 'silent', 'the silence is noticed');
  engine.answers.status = { result: quietStatus() };
  await waitUntil(() => links.at(-1) === 'serving', 'it is heard again');
  t.deepEqual(links, ['serving', 'silent', 'serving']);
});

test('a gateway that knows no map is asked for it once', async (t) => {
  const engine = new FakeEngine();
  engine.answers.segments = { error: { code: 'usage', message: 'control message: op is unknown' } };
  const { statuses, maps } = await rig(t, engine);
  await waitUntil(() => statuses.length > 4, 'some seconds pass');
  t.is(engine.asked.filter((op) => op === 'segments').length, 1);
  t.deepEqual(maps, []);
});

test('an answer that is no status ends it with an error', async (t) => {
  const { engine, end } = await rig(t);
  engine.answers.status = { result: { state: 7 } };
  await t.throwsAsync(end, { code: 'unsupported' });
});

test('a request of the user is refused while no engine answers', async (t) => {
  const { engine, links, connection } = await rig(t);
  engine.die();
  await waitUntil(() => links.includes('restarting'), 'the death is seen');
  await t.throwsAsync(connection.request({ op: 'flush' }), { code: 'closed' });
});
