// Garbage at both ends of the control socket, against a real ControlServer with a handler that only counts: nothing that a client sends or does
// disturbs the server or its other clients, and nothing that a server sends makes the client hang. PCACHE_SEED chooses other runs.

import { once } from 'node:events';
import { chmodSync, existsSync, statSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { PcacheError } from '../../src/errors.js';
import { ControlClient } from '../../src/gateway/control-client.js';
import { CONTROL_LINE_BYTES_MAX, parseControlRequest, parseControlResponse, type SegmentMap } from '../../src/gateway/control-protocol.js';
import { ControlServer } from '../../src/gateway/control-server.js';
import { createLog } from '../../src/gateway/log.js';
import { makeRuntimeDirectory, runtimePaths } from '../../src/gateway/runtime-files.js';
import { temporaryFolder } from '../support/tmp.js';
import { sampleStatus } from './sample-status.js';

const seed = Number(process.env.PCACHE_SEED ?? 1);
const log = createLog({ name: 'test', level: 'silent', format: 'json' });
const NO_SEGMENTS: SegmentMap = { seg_total: 1, segments_per_cell: 1, cells: '.', key_tail: 0, dirty_tail: 0, key_head: 0 };
/** Longest that anything here may take; never reached by what works. */
const PATIENCE_MS = 20_000;

interface Served {
  readonly path: string;
  readonly server: ControlServer;
  /** Values that the handler was told to set. */
  readonly percents: number[];
  /** Ends the flushes that have begun. */
  readonly finishFlushes: () => void;
}

async function serve(t: ExecutionContext): Promise<Served> {
  const path = join(temporaryFolder(t), 'x.sock');
  const percents: number[] = [];
  const flushes: (() => void)[] = [];
  const server = await ControlServer.start(
    path,
    {
      status: () => sampleStatus(),
      dmStatus: () => 'line',
      flush: () => new Promise((resolve) => flushes.push(resolve)),
      setGcPercent: (percent) => percents.push(percent),
      setWritebackPaused: () => undefined,
      segments: () => NO_SEGMENTS,
      users: () => [],
    },
    log,
  );
  t.teardown(() => server.end(new PcacheError('closed', 'test over')));
  const finishFlushes = (): void => {
    for (const finish of flushes.splice(0)) finish();
  };
  return { path, server, percents, finishFlushes };
}

/** Rejects if `promise` takes longer than anything here may. */
async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${PATIENCE_MS / 1000} s`)), PATIENCE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

interface Peer {
  readonly socket: Socket;
  /** What came until the connection ended, however it did. */
  readonly received: Promise<string>;
}

/** Resolves when the connection is gone, with or without an error. */
function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

/** A client that sends what it likes. Its own end stays open until it closes it, as a client that means harm would have it. */
async function peerOf(path: string): Promise<Peer> {
  const socket = connect({ path, allowHalfOpen: true });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  // A server that disconnects while bytes are on their way resets the connection, which is one of the ways in which it may end.
  socket.on('error', () => undefined);
  const received = new Promise<string>((resolve) => {
    const end = (): void => resolve(Buffer.concat(chunks).toString());
    socket.once('end', end).once('close', end);
  });
  await within(once(socket, 'connect'), 'connect');
  return { socket, received };
}

async function isServing(path: string): Promise<void> {
  const client = await ControlClient.connect(path);
  const answer = await client.request({ op: 'ping' });
  client.close();
  if ((answer as { pid: number }).pid !== process.pid) throw new Error(`ping: ${JSON.stringify(answer)}`);
}

const garbageText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc.json({ maxDepth: 3 }),
  fc.constantFrom('[]', 'null', '0', '""', '{}', '{"id":1}', '{"op":"ping"}', '{"id":1,"op":"ping"', '{"id":1,"op":"ping"}}'),
  fc
    .record({ id: fc.jsonValue(), op: fc.jsonValue(), gc_percent: fc.jsonValue() }, { requiredKeys: [] })
    .map((value) => JSON.stringify(value)),
  fc
    .record({
      id: fc.oneof(fc.constantFrom(-1, 1.5, 2 ** 53, 1e308, '1', null, [1]), fc.double()),
      op: fc.constantFrom('ping', 'status', '__proto__', 'constructor', 'PING', 'ping\u0000'),
    })
    .map((value) => JSON.stringify(value)),
  fc
    .oneof(fc.constantFrom(-1, 91, 2 ** 31, 1e308, '50', [50], true, null), fc.double({ min: 0.1, max: 0.9 }))
    .map((value) => JSON.stringify({ id: 1, op: 'message', gc_percent: value })),
);

function isRequest(line: string): boolean {
  try {
    parseControlRequest(line);
    return true;
  } catch (error) {
    if (error instanceof PcacheError && error.code === 'usage') return false;
    throw error;
  }
}

/** A text of bytes (latin1) and how often it is repeated: short to print when a property fails. */
interface Garbage {
  readonly text: string;
  readonly times: number;
}

const bytesOf = ({ text, times }: Garbage): Buffer => Buffer.from(`${text.repeat(times)}\n`, 'latin1');

const asLine = (value: unknown): Garbage => ({ text: Buffer.from(JSON.stringify(value)).toString('latin1'), times: 1 });

/** One line that is no request. */
const garbageLine: fc.Arbitrary<Garbage> = fc
  .oneof(
    garbageText.map((text) => ({ text: Buffer.from(text.replaceAll('\n', ' ')).toString('latin1'), times: 1 })),
    fc
      .uint8Array({ maxLength: 300 })
      .map((bytes) => ({ text: Buffer.from(bytes.filter((byte) => byte !== 10)).toString('latin1'), times: 1 })),
    fc.integer({ min: 1, max: 100_000 }).map((more) => ({ text: 'x', times: CONTROL_LINE_BYTES_MAX + more })),
    fc.integer({ min: 1, max: 30_000 }).map((times) => ({ text: '[', times })),
  )
  .filter(({ text, times }) => times > 1 || !isRequest(Buffer.from(text, 'latin1').toString()));

test('the socket can be reached by its owner alone, whatever the umask', async (t) => {
  const umask = process.umask(0);
  try {
    const directory = makeRuntimeDirectory(join(temporaryFolder(t), 'run'));
    const { socket } = runtimePaths('/mnt/vol', directory);
    const handler = {
      status: () => sampleStatus(),
      dmStatus: () => '',
      flush: () => Promise.resolve(),
      setGcPercent: () => undefined,
      setWritebackPaused: () => undefined,
      segments: () => NO_SEGMENTS,
    };
    const server = await ControlServer.start(socket, { ...handler, users: () => [] }, log);
    t.is(statSync(directory).mode & 0o7777, 0o700);
    t.is(statSync(socket).mode & 0o7777, 0o600);
    await server.end(new PcacheError('closed', 'over'));
    chmodSync(directory, 0o710);
    t.throws(() => makeRuntimeDirectory(directory), { code: 'permission' });
  } finally {
    process.umask(umask);
  }
});

test('whatever a client sends, it gets one error line, is disconnected, and others are served', async (t) => {
  t.log(`seed ${seed}`);
  const { path, percents } = await serve(t);
  const good = await ControlClient.connect(path);
  const property = fc.asyncProperty(
    garbageLine,
    fc.integer({ min: 1, max: 40 }),
    fc.uint8Array({ maxLength: 100 }),
    async (garbage, cuts, after) => {
      const line = bytesOf(garbage);
      const { socket, received } = await peerOf(path);
      const step = Math.ceil(line.length / cuts);
      for (let at = 0; at < line.length; at += step) socket.write(line.subarray(at, at + step));
      socket.write(after);
      const pinged = good.request({ op: 'ping' });
      const text = await within(received, 'disconnected');
      socket.destroy();
      await pinged;
      const [answer, ...rest] = text.split('\n');
      const response = parseControlResponse(answer!);
      if (!('ok' in response) || response.ok || response.id !== null || response.error.code !== 'usage') throw new Error(text);
      if (rest.length !== 1 || rest[0] !== '') throw new Error(`more than one line: ${text}`);
    },
  );
  await t.notThrowsAsync(fc.assert(property, { seed, numRuns: 250, interruptAfterTimeLimit: 10_000 }));
  t.deepEqual(percents, []);
  good.close();
});

test('requests that come pipelined, cut anywhere, are each answered once, with their own answer', async (t) => {
  t.log(`seed ${seed}`);
  const { path, percents } = await serve(t);
  const request = fc.oneof(
    fc.constantFrom('ping', 'status', 'dm_status', 'unmount_check').map((op) => ({ op })),
    fc.integer({ min: 0, max: 90 }).map((percent) => ({ op: 'message', gc_percent: percent })),
  );
  const expected: Readonly<Record<string, unknown>> = {
    ping: { pid: process.pid },
    status: sampleStatus(),
    dm_status: 'line',
    unmount_check: { users: [] },
    message: null,
  };
  const property = fc.asyncProperty(fc.array(request, { maxLength: 60 }), fc.integer({ min: 1, max: 5000 }), async (requests, cut) => {
    percents.length = 0;
    const { socket, received } = await peerOf(path);
    const bytes = Buffer.from(requests.map((each, id) => `${JSON.stringify({ id, unknown: [1], ...each })}\n`).join(''));
    for (let at = 0; at < bytes.length; at += cut) socket.write(bytes.subarray(at, at + cut));
    // What is answered after a request that breaks the protocol would show as an answer too many.
    socket.write('{"id":1000000,"op":"dm_status"}\n');
    let text = '';
    const answered = new Promise<void>((resolve) => {
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString();
        if (text.includes('"id":1000000')) resolve();
      });
    });
    await within(Promise.race([answered, received]), 'answers');
    socket.destroy();
    const answers = text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as { id: number; result: unknown });
    answers.pop();
    t.deepEqual(
      answers,
      requests.map(({ op }, id) => ({ id, ok: true, result: expected[op] })),
    );
    t.deepEqual(
      percents,
      requests.flatMap((each) => ('gc_percent' in each ? [each.gc_percent] : [])),
    );
  });
  await t.notThrowsAsync(fc.assert(property, { seed, numRuns: 100, interruptAfterTimeLimit: 8000 }));
});

test('a client that broke the protocol and stays is disconnected all the same', async (t) => {
  const { path } = await serve(t);
  // As many as the server takes: if one of them kept its place, nobody else would be served.
  const peers = await Promise.all(Array.from({ length: 64 }, () => peerOf(path)));
  const closed = peers.map(({ socket }) => closeOf(socket));
  for (const { socket } of peers) socket.write('garbage\n');
  await Promise.all(peers.map(({ received }) => within(received, 'error line')));
  // They neither close their ends nor stop to talk; a server that has closed its own answers with EPIPE.
  const talking = setInterval(() => {
    for (const { socket } of peers) if (!socket.destroyed) socket.write('more\n');
  }, 50);
  try {
    await within(Promise.all(closed), 'disconnected');
  } finally {
    clearInterval(talking);
  }
  await isServing(path);
  t.pass();
});

test('clients beyond the number that are served are turned away, and served when others have left', async (t) => {
  const { path } = await serve(t);
  const silent = await Promise.all(Array.from({ length: 64 }, () => peerOf(path)));
  const late = await peerOf(path);
  t.is(await within(late.received, 'turned away'), '');
  const left = closeOf(silent[0]!.socket);
  silent[0]!.socket.destroy();
  await left;
  // The server hears of it a little later.
  for (let attempt = 1; ; attempt++) {
    try {
      await isServing(path);
      break;
    } catch (error) {
      if (attempt === 200 || !(error instanceof PcacheError)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  for (const { socket } of silent) socket.destroy();
});

test('clients that leave in the middle of anything leave nothing behind', async (t) => {
  const { path, server, finishFlushes } = await serve(t);
  for (let round = 0; round < 5; round++) {
    await Promise.all(
      Array.from({ length: 40 }, async (_, index) => {
        const { socket } = await peerOf(path);
        const lines = ['{"id":1,"op":"wait_end"}\n', '{"id":2,"op":"flush"}\n', '{"id":3,"op":"status"}\n', '{"id":4,"op":'];
        socket.write(lines.slice(index % 4).join(''));
        if (index % 3 === 0) socket.end();
        else if (index % 3 === 1) socket.destroy();
        else setImmediate(() => socket.destroy());
        await within(closeOf(socket), 'left');
      }),
    );
    finishFlushes();
  }
  await isServing(path);
  await within(server.end(sampleStatus()), 'end');
  t.false(existsSync(path));
});

test('a client that asks without end and never takes its answers is dropped, and others are served', async (t) => {
  const { path } = await serve(t);
  const socket = connect(path);
  socket.on('error', () => undefined);
  await within(once(socket, 'connect'), 'connect');
  socket.pause();
  const closed = closeOf(socket);
  const lines = '{"id":1,"op":"status"}\n'.repeat(100);
  const pump = (): void => {
    while (!socket.destroyed && socket.write(lines));
  };
  socket.on('drain', pump);
  pump();
  await isServing(path);
  await within(closed, 'dropped');
  await isServing(path);
  t.pass();
});

for (const op of ['wait_end', 'flush']) {
  test(`a client that asks ${op} over and over without waiting breaks the protocol`, async (t) => {
    const { path, finishFlushes } = await serve(t);
    const { socket, received } = await peerOf(path);
    socket.write(`{"id":1,"op":"${op}"}\n`.repeat(20_000));
    const lines = (await within(received, 'disconnected')).split('\n');
    socket.destroy();
    t.regex(
      lines.at(-2)!,
      /^\{"id":null,"ok":false,"error":\{"code":"usage","message":"control message: more than \d+ requests at a time"/,
    );
    t.is(lines.length, 2);
    finishFlushes();
    await isServing(path);
  });
}

test('a client may ask any number of flushes, as long as it waits for some of them', async (t) => {
  const { path, finishFlushes } = await serve(t);
  const client = await ControlClient.connect(path);
  for (let round = 0; round < 10; round++) {
    const flushes = Array.from({ length: 60 }, () => client.request({ op: 'flush' }));
    // Answered after all of them have begun.
    await client.request({ op: 'ping' });
    finishFlushes();
    t.deepEqual(new Set(await Promise.all(flushes)), new Set([null]));
  }
  client.close();
});

test('whatever the gateway throws when it is asked arrives as an error, and the connection stays good', async (t) => {
  const path = join(temporaryFolder(t), 'x.sock');
  let thrown: unknown;
  const fail = (): never => {
    throw thrown;
  };
  const server = await ControlServer.start(
    path,
    { status: fail, dmStatus: fail, flush: fail, setGcPercent: fail, setWritebackPaused: fail, segments: fail, users: fail },
    log,
  );
  t.teardown(() => server.end(new PcacheError('closed', 'test over')));
  const client = await ControlClient.connect(path);
  for (thrown of [new PcacheError('permission', 'a: b'), new TypeError('a\nb'), 'text', undefined]) {
    const code = thrown instanceof PcacheError ? thrown.code : 'internal';
    for (const op of ['status', 'dm_status', 'flush', 'unmount_check'] as const) await t.throwsAsync(client.request({ op }), { code });
    await t.throwsAsync(client.request({ op: 'message', gc_percent: 1 }), { code });
  }
  t.deepEqual(await client.request({ op: 'ping' }), { pid: process.pid });
  client.close();
});

test('whatever a server sends, the client ends with a PcacheError that does not blame the user, or with its answer', async (t) => {
  t.log(`seed ${seed}`);
  const path = join(temporaryFolder(t), 'x.sock');
  let bytes = Buffer.alloc(0);
  let hangsUp = false;
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => {
      socket.write(bytes);
      if (hangsUp) socket.end();
    });
  });
  server.listen(path);
  await once(server, 'listening');
  t.teardown(() => server.close());
  const responseLike = fc
    .record(
      {
        id: fc.oneof(fc.constant(1), fc.jsonValue()),
        ok: fc.oneof(fc.boolean(), fc.jsonValue()),
        result: fc.jsonValue(),
        error: fc.jsonValue(),
      },
      { requiredKeys: [] },
    )
    .map((value) => asLine(value));
  const progressLike = fc.jsonValue().map((progress) => asLine({ id: 1, progress }));
  const sent = fc.array(fc.oneof(garbageLine, responseLike, progressLike), { minLength: 1, maxLength: 4 });
  const property = fc.asyncProperty(sent, fc.boolean(), async (answer, hangUp) => {
    bytes = Buffer.concat(answer.map(bytesOf));
    hangsUp = hangUp;
    const client = await ControlClient.connect(path);
    try {
      await within(client.request({ op: 'ping' }, { timeoutMs: 100 }), 'answer');
    } catch (error) {
      const ownError = bytes.includes('"usage"');
      if (!(error instanceof PcacheError) || error.message.includes('\n')) throw error;
      if (error.code === 'usage' && !ownError) throw new Error(`blames the user: ${error.message}`, { cause: error });
    } finally {
      client.close();
    }
  });
  await t.notThrowsAsync(fc.assert(property, { seed, numRuns: 150, interruptAfterTimeLimit: 8000 }));
});
