// A file and the loop devices over it are the same bytes by several names. Whoever comes second is refused, by whatever name it comes.

import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { openDeviceFile } from '../../src/device/device-file.js';
import { attachedLoop, detachIfOver, noLoopDevices } from '../support/loop.js';
import { temporaryFolder } from '../support/tmp.js';

const MIB = 1 << 20;
const loopTest = noLoopDevices === undefined ? test.serial : test.serial.skip;
const title = (text: string): string => (noLoopDevices === undefined ? text : `${text} (skipped: ${noLoopDevices})`);

function diskFile(t: ExecutionContext, name = 'disk'): string {
  const file = path.join(temporaryFolder(t), name);
  fs.writeFileSync(file, new Uint8Array(4 * MIB));
  return file;
}

/** A loop device over a part of a file. */
function partLoop(t: ExecutionContext, file: string, offsetBytes: number, sizeBytes: number): string {
  const args = ['-f', '--show', '-o', String(offsetBytes), '--sizelimit', String(sizeBytes), file];
  const device = execFileSync('losetup', args, { encoding: 'utf8', timeout: 20_000 }).trim();
  t.teardown(() => detachIfOver(device, file));
  return device;
}

/** Opens `first`, and says how opening `second` beside it ends. */
function second(first: string, secondName: string, readOnly = false): string {
  const held = openDeviceFile(first, { readOnly: false });
  try {
    fs.closeSync(openDeviceFile(secondName, { readOnly }).fd);
    return 'opened';
  } catch (error) {
    return (error as Error).message;
  } finally {
    fs.closeSync(held.fd);
  }
}

loopTest(title('a file that is used through a loop device is in use, and the other way round'), (t) => {
  const file = diskFile(t);
  const loop = attachedLoop(t, file);
  for (const readOnly of [false, true]) {
    t.is(second(loop, file, readOnly), `${file}: in use: ${loop} over it is mounted, or held by another pcache`);
    t.is(second(file, loop, readOnly), `${loop}: in use: what is below it, ${file}, is in use itself`);
  }
  t.notThrows(() => fs.closeSync(openDeviceFile(file, { readOnly: false }).fd), 'a loop device that nobody uses is no use of its file');
  t.notThrows(() => fs.closeSync(openDeviceFile(loop, { readOnly: false }).fd));
});

loopTest(title('two loop devices over one file are one device where they overlap, and two where they do not'), (t) => {
  const file = diskFile(t);
  const [whole, other] = [attachedLoop(t, file), attachedLoop(t, file)];
  const [left, right] = [partLoop(t, file, 0, 2 * MIB), partLoop(t, file, 2 * MIB, 2 * MIB)];
  t.is(second(whole, other), `${other}: in use: ${whole} over the same ${file} is mounted, or held by another pcache`);
  t.regex(second(right, whole), /: in use: /);
  t.is(second(left, right), 'opened');
  t.is(second(right, left), 'opened');
  t.regex(second(left, file), /: in use: /);
});

loopTest(title('a loop device over a loop device is known for what it is'), (t) => {
  const file = diskFile(t);
  const lower = attachedLoop(t, file);
  const upper = attachedLoop(t, lower);
  t.is(second(upper, file), `${file}: in use: ${upper} over it is mounted, or held by another pcache`);
  t.is(second(upper, lower), `${lower}: in use: ${upper} over it is mounted, or held by another pcache`);
  t.regex(second(file, upper), /: in use: what is below it, /);
  t.regex(second(lower, upper), /: in use: what is below it, /);
});

loopTest(title('a file whose loop device has a file system mounted is in use'), (t) => {
  const file = diskFile(t);
  const loop = attachedLoop(t, file);
  // An exclusive opening is what a mount is to others.
  const mount = fs.openSync(loop, fs.constants.O_RDONLY | fs.constants.O_EXCL);
  t.throws(() => openDeviceFile(file, { readOnly: false }), { message: new RegExp(`^${file}: in use: ${loop} over it is mounted`) });
  t.notThrows(() => fs.closeSync(openDeviceFile(file, { readOnly: true, lock: 'none' }).fd), 'to look beside others is allowed');
  fs.closeSync(mount);
  t.notThrows(() => fs.closeSync(openDeviceFile(file, { readOnly: false }).fd));
});

loopTest(title('a loop device that is gone meanwhile, or whose file was deleted, hinders nobody'), (t) => {
  const folder = temporaryFolder(t);
  const [gone, file] = ['gone', 'file'].map((name) => path.join(folder, name)) as [string, string];
  for (const each of [gone, file]) fs.writeFileSync(each, new Uint8Array(MIB));
  const loop = attachedLoop(t, gone);
  fs.rmSync(gone);
  t.notThrows(() => fs.closeSync(openDeviceFile(file, { readOnly: false }).fd));
  t.notThrows(() => fs.closeSync(openDeviceFile(loop, { readOnly: false }).fd));
});
