import { request as httpRequest } from 'node:http';
import { connect, createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import test, { type ExecutionContext } from 'ava';
import { createLog } from '../../src/gateway/log.js';
import { MetricsServer } from '../../src/gateway/metrics-server.js';
import { metricsText } from '../../src/gateway/metrics.js';
import { freePort } from '../support/free-port.js';
import { sampleStatus } from './sample-status.js';

const log = createLog({ name: 'test', level: 'silent', format: 'json' });
const HOST = '127.0.0.1';
const PATIENCE_MS = 20_000;

async function serve(t: ExecutionContext, text: () => string = () => metricsText(sampleStatus())): Promise<number> {
  const port = await freePort(HOST);
  const server = await MetricsServer.start({ host: HOST, port }, text, log);
  t.teardown(() => server.end());
  return port;
}

interface Answer {
  readonly status: number | undefined;
  readonly type: string | undefined;
  readonly allow: string | undefined;
  readonly body: string;
}

function ask(port: number, path: string, method = 'GET', body = ''): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = httpRequest({ host: HOST, port, path, method, agent: false, timeout: PATIENCE_MS }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('error', reject);
      response.on('end', () => {
        const { 'content-type': type, allow } = response.headers;
        resolve({ status: response.statusCode, type, allow, body: text });
      });
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

test('GET /metrics is answered with the metrics, in the type of the format', async (t) => {
  let dirtyBytes = 1;
  const port = await serve(t, () => metricsText(sampleStatus({ dirty_bytes: dirtyBytes++, dirty_since_ms: null })));
  for (const dirty_bytes of [1, 2]) {
    const answer = await ask(port, '/metrics');
    t.is(answer.status, 200);
    t.is(answer.type, 'text/plain; version=0.0.4; charset=utf-8');
    t.is(answer.body, metricsText(sampleStatus({ dirty_bytes, dirty_since_ms: null })));
  }
  t.is((await ask(port, '/metrics?a=b')).status, 200);
});

test('other paths are not found, other methods not allowed, and neither asks for the status', async (t) => {
  let asked = 0;
  const port = await serve(t, () => {
    asked++;
    return '';
  });
  for (const path of ['/', '/metrics/', '/metrics/../metrics', '/stats.json', '//metrics', '*'])
    t.is((await ask(port, path)).status, 404, path);
  for (const method of ['POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS']) {
    const answer = await ask(port, '/metrics', method, method === 'HEAD' ? '' : 'x'.repeat(100_000));
    t.is(answer.status, 405, method);
    t.is(answer.allow, 'GET');
  }
  t.is(asked, 0);
});

test('a status that can not be had is an error of the server, which serves on', async (t) => {
  let fails = true;
  const port = await serve(t, () => {
    if (fails) throw new Error('no');
    return 'yes\n';
  });
  t.is((await ask(port, '/metrics')).status, 500);
  fails = false;
  t.is((await ask(port, '/metrics')).body, 'yes\n');
});

test('a port in use is said so, and a place that is no address of this machine', async (t) => {
  const other = createServer().listen(0, HOST);
  await once(other, 'listening');
  t.teardown(() => other.close());
  const { port } = other.address() as AddressInfo;
  const error = await t.throwsAsync(
    MetricsServer.start({ host: HOST, port }, () => '', log),
    { code: 'in-use' },
  );
  t.is(error.message, `metrics: ${HOST}:${port}: another program listens there`);
  await t.throwsAsync(
    MetricsServer.start({ host: '192.0.2.1', port: 9464 }, () => '', log),
    { code: 'io', message: /not an address of this machine/ },
  );
});

test('a volume that is served already takes a port as soon as it comes free', async (t) => {
  const other = createServer().listen(0, HOST);
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  const server = MetricsServer.startAnyhow({ host: HOST, port }, () => 'here\n', log);
  t.teardown(() => server.end());
  other.close();
  await once(other, 'close');
  const deadlineMs = performance.now() + PATIENCE_MS;
  let body = '';
  while (body === '' && performance.now() < deadlineMs)
    body = await ask(port, '/metrics').then(
      ({ body: text }) => text,
      () => '',
    );
  t.is(body, 'here\n');
});

test('garbage, and a request that never ends, are no harm to others, and all connections end with the server', async (t) => {
  const port = await freePort(HOST);
  const server = await MetricsServer.start({ host: HOST, port }, () => 'fine\n', log);
  t.teardown(() => server.end());
  const silent = connect(port, HOST);
  await once(silent, 'connect');
  silent.write('GET /metrics HTTP/1.1\r\nHost: a');
  const rude = connect(port, HOST);
  rude.end(Buffer.alloc(100_000, 7));
  rude.on('error', () => undefined);
  silent.on('error', () => undefined);
  await once(rude.resume(), 'close');
  t.is((await ask(port, '/metrics')).body, 'fine\n');
  const closed = once(silent.resume(), 'close');
  server.end();
  await closed;
  await t.throwsAsync(ask(port, '/metrics'));
});
