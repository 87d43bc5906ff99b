import * as fs from 'node:fs';
import * as path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { blockIdentity } from '../../src/device/backing-identity.js';
import { majorMinorOf } from '../../src/device/device-number.js';
import { openBackingDevice } from '../../src/device/file-backing-device.js';
import { isStoredIdentity } from '../../src/media/backing-identity-match.js';
import { attachedLoop, noLoopDevices } from '../support/loop.js';
import { temporaryFolder } from '../support/tmp.js';

const loopTest = noLoopDevices === undefined ? test : test.skip;
const loopTitle = (title: string): string => (noLoopDevices === undefined ? title : `${title} (skipped: ${noLoopDevices})`);

/** A tree like sysfs: block devices by number, each with attributes; partitions lie in their disk's folder. */
function fakeSysfs(t: ExecutionContext, devices: { number: string; folder: string; attributes: Record<string, string> }[]): string {
  const root = temporaryFolder(t);
  fs.mkdirSync(path.join(root, 'dev/block'), { recursive: true });
  for (const { number, folder, attributes } of devices) {
    fs.mkdirSync(path.join(root, 'devices', folder), { recursive: true });
    fs.symlinkSync(`../../devices/${folder}`, path.join(root, 'dev/block', number));
    for (const [name, value] of Object.entries(attributes)) {
      const file = path.join(root, 'devices', folder, name);
      fs.mkdirSync(path.dirname(file), { recursive: true });
      fs.writeFileSync(file, value);
    }
  }
  return root;
}

function identityOf(file: string): string {
  const device = openBackingDevice(file, { readOnly: true });
  device.close();
  return device.identity;
}

test('a file keeps its identity when it is renamed, and a copy has another', (t) => {
  const folder = temporaryFolder(t);
  const file = path.join(folder, 'a');
  fs.writeFileSync(file, new Uint8Array(512));
  const identity = identityOf(file);
  t.regex(identity, /^file:([0-9a-f]{16}|dev-\d+-\d+):\d+(:\d+\.\d{9})?$/);
  fs.renameSync(file, path.join(folder, 'b'));
  t.is(identityOf(path.join(folder, 'b')), identity);
  fs.copyFileSync(path.join(folder, 'b'), file);
  t.not(identityOf(file), identity);
});

test('a file that takes the place of a deleted one has another identity, even if it got its inode number', (t) => {
  const file = path.join(temporaryFolder(t), 'a');
  const identities = new Set<string>();
  const inodes = new Set<number>();
  for (let time = 0; time < 4; time++) {
    fs.writeFileSync(file, new Uint8Array(512));
    identities.add(identityOf(file));
    inodes.add(fs.statSync(file).ino);
    fs.rmSync(file);
    // A birth is as exact as the clock's tick.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 25);
  }
  t.is(identities.size, 4, `${inodes.size} inode numbers`);
});

test('an identity that was stored without the birth of a file is still that of the file; one with another birth is not', (t) => {
  const stored = 'file:0123456789abcdef:42';
  const born = `${stored}:1795632622.000000007`;
  for (const [wrap, wrapped] of [
    [stored, born],
    [`loop-of:${stored}+4096`, `loop-of:${born}+4096`],
    ['file:dev-0-45:42', 'file:dev-0-45:42:1795632622.000000007'],
    ['block:serial:x', 'block:serial:x'],
  ] as const) {
    t.true(isStoredIdentity(wrap, wrap));
    t.true(isStoredIdentity(wrapped, wrapped));
    t.true(isStoredIdentity(wrap, wrapped));
  }
  t.false(isStoredIdentity(born, stored), 'its birth is not known any more');
  t.false(isStoredIdentity(born, `${stored}:1795632622.000000008`));
  t.false(isStoredIdentity('file:0123456789abcdef:43', born));
  t.false(isStoredIdentity(`loop-of:${stored}+0`, `loop-of:${born}+512`));
  t.false(isStoredIdentity(stored, `loop-of:${born}+512`));
});

test('a file and a loop device over all of it are the same bytes', (t) => {
  const file = 'file:0123456789abcdef:42:1795632622.000000007';
  for (const [a, b] of [
    [file, `loop-of:${file}+0`],
    ['block:serial:x', 'loop-of:block:serial:x+0'],
    [file, `loop-of:loop-of:${file}+0+0`],
    [`loop-of:${file}+512`, `loop-of:loop-of:${file}+512+0`],
  ] as const) {
    t.true(isStoredIdentity(a, b), b);
    t.true(isStoredIdentity(b, a), b);
  }
  t.false(isStoredIdentity(`loop-of:loop-of:${file}+0+512`, file));
});

test('a disk is known by the most telling name that sysfs has for it', (t) => {
  const sysfs = fakeSysfs(t, [
    { number: '259:0', folder: 'nvme0n1', attributes: { wwid: 'eui.0123\n', 'device/serial': 'S1  \n' } },
    { number: '8:0', folder: 'sda', attributes: { 'device/wwid': 't10.ATA     DISK  1\n' } },
    { number: '254:0', folder: 'vda', attributes: { serial: 'volume-7\n' } },
    { number: '253:1', folder: 'dm-1', attributes: { 'dm/uuid': 'LVM-abc\n', serial: 'x' } },
    { number: '9:0', folder: 'md0', attributes: { 'md/uuid': '1-2-3\n' } },
    { number: '1:0', folder: 'ram0', attributes: { serial: '\n' } },
  ]);
  t.is(blockIdentity('259:0', sysfs), 'block:wwid:eui.0123');
  t.is(blockIdentity('8:0', sysfs), 'block:wwid:t10.ATA_DISK_1');
  t.is(blockIdentity('254:0', sysfs), 'block:serial:volume-7');
  t.is(blockIdentity('253:1', sysfs), 'block:dm-uuid:LVM-abc');
  t.is(blockIdentity('9:0', sysfs), 'block:md-uuid:1-2-3');
  t.is(blockIdentity('1:0', sysfs), 'block:number:1:0');
  t.is(blockIdentity('77:7', sysfs), 'block:number:77:7');
});

test('a partition is known by its UUID, or by its disk and where it starts', (t) => {
  const sysfs = fakeSysfs(t, [
    { number: '8:0', folder: 'sda', attributes: { 'device/wwid': 'w' } },
    { number: '8:1', folder: 'sda/sda1', attributes: { partition: '1\n', start: '2048\n', uevent: 'MAJOR=8\nPARTUUID=AB-01\n' } },
    { number: '8:2', folder: 'sda/sda2', attributes: { partition: '2\n', start: '4096\n', uevent: 'MAJOR=8\n' } },
    { number: '1:0', folder: 'ram0', attributes: {} },
    { number: '1:1', folder: 'ram0/ram0p1', attributes: { partition: '1\n', start: '8\n' } },
  ]);
  t.is(blockIdentity('8:1', sysfs), 'block:partuuid:ab-01');
  t.is(blockIdentity('8:2', sysfs), 'block:wwid:w+part@4096');
  t.is(blockIdentity('1:1', sysfs), 'block:number:1:1');
});

test('a loop device whose file is gone is known by its number', (t) => {
  const sysfs = fakeSysfs(t, [{ number: '7:9', folder: 'loop9', attributes: { 'loop/backing_file': '/nonexistent/x (deleted)\n' } }]);
  t.is(blockIdentity('7:9', sysfs), 'block:number:7:9');
});

loopTest(loopTitle('a loop device is known by its file, whatever its number'), (t) => {
  const file = path.join(temporaryFolder(t), 'disk');
  fs.writeFileSync(file, new Uint8Array(1024 * 1024));
  const identity = identityOf(file);
  t.is(identityOf(attachedLoop(t, file)), `loop-of:${identity}+0`);
});

test('device numbers are split as the kernel packs them', (t) => {
  t.is(majorMinorOf(0x0801), '8:1');
  t.is(majorMinorOf(0x10_3000), '48:256');
  t.is(majorMinorOf(259 * 256 + 5), '259:5');
  // Minor 2^20 - 1 in the low word, major 0x1fff split between both.
  t.is(majorMinorOf(0xffff_ffff + 0x1000 * 2 ** 32), '8191:1048575');
});
