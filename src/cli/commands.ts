// The commands there are, one row each, in the order in which help lists them.

import type { CommandModule } from './command.js';

export interface CommandRow {
  readonly name: string;
  readonly summary: string;
  readonly hidden?: boolean;
  readonly load: () => Promise<CommandModule>;
}

export const commandRows: readonly CommandRow[] = [
  { name: 'demo', summary: 'show it all on a small example: write, crash, recover, verify', load: () => import('./demo.js') },
  { name: 'format', summary: 'make a cache', load: () => import('./format.js') },
  { name: 'mount', summary: 'serve a cached volume as a file', load: () => import('./mount.js') },
  { name: 'config', summary: 'write and check configurations of mounts; install the service', load: () => import('./config.js') },
  { name: 'umount', summary: 'end a mount in order', load: () => import('./umount.js') },
  { name: 'status', summary: 'show the state of one cache or of all mounted ones', load: () => import('./status.js') },
  { name: 'monitor', summary: 'watch a mounted volume on the terminal', load: () => import('./monitor.js') },
  { name: 'flush', summary: 'write everything dirty back to the backing device', load: () => import('./flush.js') },
  { name: 'message', summary: 'tune a mounted volume', load: () => import('./message.js') },
  { name: 'loop', summary: 'put a loop device over a mounted volume', load: () => import('./loop.js') },
  { name: 'check', summary: 'read every structure of a cache and say what is wrong', load: () => import('./check.js') },
  { name: 'dump', summary: 'print what is on the media of a cache', load: () => import('./dump.js') },
  { name: 'recover', summary: 'write dirty data to the backing device without mounting', load: () => import('./recover.js') },
  { name: 'mount-helper', summary: 'what mount(8) runs to mount', hidden: true, load: () => import('./mount-helper.js') },
  { name: 'umount-helper', summary: 'what umount(8) runs to unmount', hidden: true, load: () => import('./umount-helper.js') },
  { name: 'completion', summary: 'print a script that completes command lines in a shell', load: () => import('./completion.js') },
];
