// The subjects, in the order of tables and pictures.

import { existsSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { attachLoop } from '../src/device/loop-device.js';
import { Daemon, lacking } from './command.js';
import { Gateway, lacksTransport, type Transport } from './gateway.js';
import { isRoot, lacksFuse } from './machine.js';
import { buildNullImage, lacksNullImage, startNullImage } from './null-image.js';
import { startNullTransport } from './null-transport.js';
import { transportAlone } from './results.js';
import { plainSubject, type RunningSubject, type Subject, type SubjectSetting } from './subject.js';
import { untilMounted } from './mounted.js';

/** What libfuse starts on its own if it is let. */
const NULL_IMAGE_THREADS = 10;

function gatewaySubject(transport: Transport, dataCrc: boolean, cacheOn: 'memory' | 'disk'): Subject {
  const id = [transport, ...(dataCrc ? ['crc'] : []), ...(cacheOn === 'disk' ? ['disk'] : [])].join('-');
  const start = async ({ workspace, volumeBytes, cacheBytes }: SubjectSetting): Promise<RunningSubject> => {
    const gateway = await Gateway.create(workspace, { name: id, cacheBytes, volumeBytes, cacheOn, dataCrc, transport });
    await gateway.mount();
    return {
      file: gateway.volume,
      pids: () => gateway.pids,
      settle: () => gateway.settle(),
      fullWaits: async () => (await gateway.status()).cache_full_waits,
    };
  };
  return {
    id,
    title: `pcache ${transport}${dataCrc ? ', data CRC' : ''}${cacheOn === 'disk' ? ', cache on disk' : ''}`,
    kind: 'gateway',
    lacks: lacksFuse() ?? lacksTransport(transport),
    quick: cacheOn === 'disk' ? 'none' : dataCrc ? 'deep' : 'all',
    mayForget: true,
    start,
  };
}

function transportSubject(transport: Transport): Subject {
  const id = transportAlone(transport);
  const start = async ({ workspace, volumeBytes }: SubjectSetting): Promise<RunningSubject> => {
    const file = await startNullTransport(workspace, id, transport, volumeBytes);
    return plainSubject(file, () => workspace.processesOf(id));
  };
  const lacks = lacksFuse() ?? lacksTransport(transport);
  return { id, title: `${transport} alone, no cache`, kind: 'transport', lacks, quick: 'none', mayForget: false, start };
}

function nullSubject(id: string, title: string, threads: number, background: 'many' | 'default' = 'many'): Subject {
  const start = async ({ workspace, volumeBytes }: SubjectSetting): Promise<RunningSubject> => {
    const program = await buildNullImage(workspace);
    const file = await startNullImage(workspace, program, { name: id, sizeBytes: volumeBytes, threads, background, readDelayUs: 0 });
    return plainSubject(file, () => workspace.processesOf(id));
  };
  const quick = background === 'many' ? 'all' : 'none';
  return { id, title, kind: 'null', lacks: lacksFuse() ?? lacksNullImage(), quick, mayForget: false, start };
}

/** A sparse file of the volume's size. */
function emptyFile(path: string, sizeBytes: number): string {
  writeFileSync(path, '');
  truncateSync(path, sizeBytes);
  return path;
}

const nbdkit: Subject = {
  id: 'nbdkit',
  title: 'nbdkit cache filter, nbdfuse',
  kind: 'peer',
  lacks: lacksFuse() ?? lacking('nbdkit', 'nbdfuse'),
  quick: 'deep',
  mayForget: false,
  async start({ workspace, volumeBytes }) {
    const backing = emptyFile(join(workspace.disk, 'nbdkit.img'), volumeBytes);
    const mountpoint = workspace.folder('nbdkit.mnt');
    const server = ['nbdkit', '--exit-with-parent', '--filter=cache', 'file', backing];
    // The filter keeps its cache where TMPDIR says.
    const env = { ...workspace.env('nbdkit'), TMPDIR: workspace.memory };
    const daemon = new Daemon('nbdfuse', [join(mountpoint, 'image'), '[', ...server, ']'], env);
    await untilMounted(workspace, daemon, mountpoint);
    return plainSubject(join(mountpoint, 'image'), () => workspace.processesOf('nbdkit'));
  },
};

const qemu: Subject = {
  id: 'qemu',
  title: 'qemu-storage-daemon export',
  kind: 'peer',
  lacks: lacksFuse() ?? lacking('qemu-storage-daemon'),
  quick: 'deep',
  mayForget: false,
  async start({ workspace, volumeBytes }) {
    const image = emptyFile(join(workspace.memory, 'qemu.img'), volumeBytes);
    const mountpoint = emptyFile(join(workspace.disk, 'qemu.mnt'), 0);
    const node = ['--blockdev', `driver=file,node-name=file,filename=${image}`, '--blockdev', 'driver=raw,node-name=image,file=file'];
    const shown = ['--export', `type=fuse,id=export,node-name=image,mountpoint=${mountpoint},writable=on`];
    const daemon = new Daemon('qemu-storage-daemon', [...node, ...shown], workspace.env('qemu'));
    await untilMounted(workspace, daemon, mountpoint);
    return plainSubject(mountpoint, () => workspace.processesOf('qemu'));
  },
};

const loop: Subject = {
  id: 'loop',
  title: 'loop device, in the kernel',
  kind: 'peer',
  lacks: !isRoot ? 'needs root' : existsSync('/dev/loop-control') ? undefined : 'no /dev/loop-control',
  quick: 'none',
  mayForget: false,
  start: ({ workspace, volumeBytes }) => {
    const device = attachLoop(emptyFile(join(workspace.memory, 'loop.img'), volumeBytes));
    // Taken away with the workspace.
    return Promise.resolve(plainSubject(device, () => undefined));
  },
};

export const subjects: readonly Subject[] = [
  gatewaySubject('dev-fuse', false, 'memory'),
  gatewaySubject('io-uring', false, 'memory'),
  gatewaySubject('dev-fuse', true, 'memory'),
  gatewaySubject('io-uring', true, 'memory'),
  gatewaySubject('dev-fuse', false, 'disk'),
  transportSubject('dev-fuse'),
  transportSubject('io-uring'),
  nullSubject('null-mt', 'null image in C, threads', NULL_IMAGE_THREADS),
  nullSubject('null-st', 'null image in C, one thread', 1),
  nullSubject('null-mt-default', 'null image in C, defaults', NULL_IMAGE_THREADS, 'default'),
  nbdkit,
  qemu,
  loop,
];
