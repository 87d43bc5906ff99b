import * as fs from 'node:fs';
import * as path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { PcacheError } from '../../src/errors.js';
import { attachLoop, detachLoop, listLoops } from '../../src/device/loop-device.js';
import { attachedLoop, noLoopDevices } from '../support/loop.js';
import { temporaryFolder } from '../support/tmp.js';

const loopTest = noLoopDevices === undefined ? test : test.skip;
const loopTitle = (title: string): string => (noLoopDevices === undefined ? title : `${title} (skipped: ${noLoopDevices})`);

function disk(t: ExecutionContext): string {
  const file = path.join(temporaryFolder(t), 'disk');
  fs.writeFileSync(file, new Uint8Array(1024 * 1024).fill(6));
  return file;
}

loopTest(loopTitle('an attached file is listed, can be read and written as a device, and is gone when detached'), (t) => {
  const file = disk(t);
  const device = attachLoop(file, { directIo: false });
  const entry = listLoops().find((loop) => loop.device === device);
  t.deepEqual(entry, { device, backingFile: file, offsetBytes: 0, directIo: false, readOnly: false, autoclear: false });
  const fd = fs.openSync(device, 'r+');
  const sector = new Uint8Array(512);
  fs.readSync(fd, sector, 0, 512, 512);
  t.is(sector[511], 6);
  fs.writeSync(fd, new Uint8Array(4096).fill(8), 0, 4096, 4096);
  fs.fsyncSync(fd);
  fs.closeSync(fd);
  t.is(fs.readFileSync(file)[4096], 8);
  t.is(detachLoop({ device, backingFile: file }), 'detached');
  t.is(
    listLoops().find((loop) => loop.backingFile === file),
    undefined,
  );
  t.is(t.throws(() => detachLoop({ device, backingFile: file }), { instanceOf: PcacheError }).code, 'not-found');
});

loopTest(loopTitle('several files get devices of their own, also when attached read-only'), (t) => {
  const files = [disk(t), disk(t), disk(t)];
  const devices = files.map((file) => attachedLoop(t, file, { readOnly: true }));
  t.is(new Set(devices).size, 3);
  for (const [i, device] of devices.entries()) {
    const entry = listLoops().find((loop) => loop.device === device)!;
    t.is(entry.backingFile, files[i]!);
    t.true(entry.readOnly);
  }
});

loopTest(loopTitle('detaching a device that is open is deferred until it is closed'), (t) => {
  const backingFile = disk(t);
  const device = attachLoop(backingFile);
  const fd = fs.openSync(device, 'r');
  t.is(detachLoop({ device, backingFile }, { waits: false }), 'deferred');
  t.is(listLoops().find((loop) => loop.device === device)?.autoclear, true);
  t.is(detachLoop({ device, backingFile }), 'deferred');
  fs.closeSync(fd);
});

loopTest(loopTitle('a device that is over another file by now is not detached by its name'), (t) => {
  const [mine, theirs] = [disk(t), disk(t)];
  const device = attachedLoop(t, theirs);
  const error = t.throws(() => detachLoop({ device, backingFile: mine }), { instanceOf: PcacheError });
  t.is(error.code, 'not-found');
  t.is(error.message, `${device}: not over ${mine} any more`);
  t.like(
    listLoops().find((loop) => loop.device === device),
    { backingFile: theirs, autoclear: false },
  );
});

loopTest(loopTitle('what cannot be attached is refused in one line'), (t) => {
  t.is(
    t.throws(() => attachLoop('/nonexistent/x'), { instanceOf: PcacheError }).message,
    '/nonexistent/x: no such file or directory (ENOENT)',
  );
  t.is(t.throws(() => attachLoop('/proc/self'), { instanceOf: PcacheError, message: /^[^\n]+$/ }).errno, 21);
});

test('loop devices can be listed by anyone', (t) => {
  for (const loop of listLoops()) t.regex(loop.device, /^\/dev\/loop\d+$/);
  t.pass();
});
