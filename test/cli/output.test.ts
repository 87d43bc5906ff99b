import test from 'ava';
import { PcacheError } from '../../src/errors.js';
import { Output, alignColumns } from '../../src/cli/output.js';
import { Rate } from '../../src/cli/progress.js';

function outputWith(options: { json: boolean; quiet: boolean }): { output: Output; said: { out: string; err: string } } {
  const said = { out: '', err: '' };
  const stdout = { write: (text: string) => (said.out += text) };
  const stderr = { write: (text: string) => (said.err += text), isTTY: true };
  return { output: new Output(options, { stdout, stderr }), said };
}

function sayEverything(output: Output): void {
  output.line('a line');
  output.result({ a: 1 }, () => 'one');
  output.warn('careful');
  output.error(new PcacheError('busy', 'x: in\n use', { hint: 'Wait.' }));
}

const errorLines = 'pcache: x: in\\x0a use\nhint: Wait.\n';

test('results go to stdout, warnings and errors to stderr', (t) => {
  const { output, said } = outputWith({ json: false, quiet: false });
  sayEverything(output);
  t.deepEqual(said, { out: 'a line\none\n', err: `pcache: warning: careful\n${errorLines}` });
  t.true(output.showsProgress);
});

test('with --json every line of stdout and of stderr is one JSON document', (t) => {
  const { output, said } = outputWith({ json: true, quiet: false });
  sayEverything(output);
  output.progress({ progress: 'checking', done_bytes: 1, left_s: null });
  t.is(said.out, '{"a":1}\n');
  t.deepEqual(
    said.err
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
    [
      { warning: 'careful' },
      { error: { code: 'busy', message: 'x: in\n use', hint: 'Wait.' } },
      { progress: 'checking', done_bytes: 1, left_s: null },
    ],
  );
});

test('a name with control characters neither breaks a line nor gives the terminal orders, whatever is said of it', (t) => {
  const name = 'a\nb\u001b[31m';
  const { output, said } = outputWith({ json: false, quiet: false });
  output.line(name);
  output.line(['one', name]);
  output.result({}, () => name);
  output.warn(name);
  output.error(new PcacheError('busy', `${name}: in use`, { hint: `End ${name}.` }));
  const shown = String.raw`a\x0ab\x1b[31m`;
  t.is(said.out, `${shown}\none\n${shown}\n${shown}\n`);
  t.is(said.err, `pcache: warning: ${shown}\npcache: ${shown}: in use\nhint: End ${shown}.\n`);
  output.progress({ progress: name });
  t.is(said.err.split('\n').length, 5);
});

test('with --json an error of any kind has a code, and gives the terminal no orders', (t) => {
  const { output, said } = outputWith({ json: true, quiet: true });
  output.error(new Error('a\u009b2J\u007f'));
  t.notRegex(said.err.trimEnd(), /\p{Cc}/u);
  t.deepEqual(JSON.parse(said.err), { error: { code: 'internal', message: 'a\u009b2J\u007f' } });
});

test('with --quiet only errors are said', (t) => {
  const { output, said } = outputWith({ json: false, quiet: true });
  sayEverything(output);
  t.deepEqual(said, { out: '', err: errorLines });
  t.false(output.showsProgress);
});

test('columns are as wide as their widest cell, and no line ends in spaces', (t) => {
  t.deepEqual(
    alignColumns([
      ['a', 'bb', 'c'],
      ['aaa', 'b', ''],
    ]),
    ['a    bb  c', 'aaa  b'],
  );
  t.deepEqual(alignColumns([]), []);
  // A file name can have an end of line in it, and is as wide as it is shown.
  t.deepEqual(
    alignColumns([
      ['a\nb', 'c'],
      ['123456789', 'd'],
    ]),
    ['a\\x0ab     c', '123456789  d'],
  );
});

test('a rate is of the last seconds, and 0 before there are two readings', (t) => {
  const rate = new Rate();
  t.is(rate.bytesPerSecond(0, 1000), 0);
  t.is(rate.bytesPerSecond(500, 1500), 1000);
  t.is(rate.bytesPerSecond(500, 11_500), 0);
  for (let second = 0; second < 8; second++) rate.bytesPerSecond(500 + second * 2000, 11_500 + second * 1000);
  t.is(rate.bytesPerSecond(16_500, 19_500), 2000);
});
