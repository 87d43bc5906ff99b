import test from 'ava';
import fc from 'fast-check';
import { PcacheError } from '../../src/errors.js';
import {
  CONTROL_LINE_BYTES_MAX,
  LineReader,
  SEGMENT_CELLS_MAX,
  encodeControlLine,
  errorBody,
  errorOfBody,
  parseControlRequest,
  parseControlResponse,
  type ControlRequest,
} from '../../src/gateway/control-protocol.js';

const requests: ControlRequest[] = [
  ...(['ping', 'status', 'dm_status', 'flush', 'unmount_check', 'wait_end'] as const).map((op, id) => ({ id, op })),
  { id: 9, op: 'message', gc_percent: 0 },
  { id: 10, op: 'message', writeback: 'pause' },
  { id: 11, op: 'message', writeback: 'resume' },
  { id: 12, op: 'segments', cells: 1 },
  { id: 13, op: 'segments', cells: SEGMENT_CELLS_MAX },
];

test('requests survive the way there', (t) => {
  for (const request of requests) t.deepEqual(parseControlRequest(encodeControlLine(request).trimEnd()), request);
});

test('every prefix of a request is refused', (t) => {
  for (const request of requests) {
    const line = encodeControlLine(request).trimEnd();
    for (let length = 0; length < line.length; length++) {
      t.throws(() => parseControlRequest(line.slice(0, length)), { instanceOf: PcacheError, message: /^control message: / });
    }
  }
});

test('unknown operations, bad ids and bad values are refused', (t) => {
  const bad = [
    { op: 'status' },
    { id: '1', op: 'status' },
    { id: -1, op: 'status' },
    { id: 1.5, op: 'status' },
    { id: 1 },
    { id: 1, op: 'toString' },
    { id: 1, op: 'message' },
    { id: 1, op: 'message', gc_percent: 91 },
    { id: 1, op: 'message', gc_percent: '50' },
    { id: 1, op: 'message', gc_percent: 1.5 },
    { id: 1, op: 'message', writeback: 'stop' },
    { id: 1, op: 'message', writeback: true },
    { id: 1, op: 'message', writeback: 'pause', gc_percent: 50 },
    { id: 1, op: 'segments' },
    { id: 1, op: 'segments', cells: 0 },
    { id: 1, op: 'segments', cells: SEGMENT_CELLS_MAX + 1 },
    { id: 1, op: 'segments', cells: 1.5 },
    [],
    null,
    'status',
  ];
  for (const value of bad) t.throws(() => parseControlRequest(JSON.stringify(value)), { instanceOf: PcacheError });
});

test('anything at all is either read or refused with a PcacheError, on both sides', (t) => {
  const texts = fc.oneof(
    fc.string(),
    fc.json(),
    fc.jsonValue().map((value) => JSON.stringify({ id: 1, op: 'status', ok: true, ...Object(value) })),
  );
  fc.assert(
    fc.property(texts, (text) => {
      for (const parse of [parseControlRequest, parseControlResponse]) {
        try {
          parse(text);
        } catch (error) {
          if (!(error instanceof PcacheError)) throw error;
        }
      }
    }),
  );
  t.pass();
});

test('an error arrives as the error it was', (t) => {
  const error = errorOfBody(errorBody(new PcacheError('busy', 'x: in use', { hint: 'Wait.' })));
  t.deepEqual([error.code, error.message, error.hint], ['busy', 'x: in use', 'Wait.']);
  t.is(errorBody(new TypeError('oops')).code, 'internal');
  const parsed = parseControlResponse('{"id":null,"ok":false,"error":{"code":"constructor"}}');
  t.deepEqual(parsed, { id: null, ok: false, error: { code: 'internal', message: 'no reason given' } });
});

test('lines come out of a stream whole, however it is cut', (t) => {
  const lines = fc.array(
    fc.string({ maxLength: 40 }).map((line) => line.replaceAll('\n', ' ')),
    { maxLength: 20 },
  );
  fc.assert(
    fc.property(lines, fc.integer({ min: 1, max: 50 }), (expected, cut) => {
      const bytes = Buffer.from(expected.map((line) => `${line}\n`).join(''));
      const reader = new LineReader();
      const seen: string[] = [];
      for (let at = 0; at < bytes.length; at += cut) seen.push(...reader.feed(bytes.subarray(at, at + cut)));
      t.deepEqual(seen, expected);
    }),
  );
});

test('a line of the longest kind is taken, a longer one is refused with or without its end', (t) => {
  const longest = 'x'.repeat(CONTROL_LINE_BYTES_MAX);
  t.deepEqual(new LineReader().feed(Buffer.from(`${longest}\n`)), [longest]);
  t.throws(() => new LineReader().feed(Buffer.from(`${longest}x\n`)), { instanceOf: PcacheError });
  const reader = new LineReader();
  reader.feed(Buffer.from(longest));
  t.throws(() => reader.feed(Buffer.from('x')), { instanceOf: PcacheError });
});
