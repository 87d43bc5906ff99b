// What the processes of a mount have, and do without, of the environment that they were started in.

import { readFileSync } from 'node:fs';
import { mountTest, mounted } from '../support/mounted.js';

const notX64 = process.arch === 'x64' ? undefined : 'the tunable is of x86-64 alone';

function environmentOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
}

mountTest('supervisor and engine read no certificates, and the engine copies large pieces past the caches', notX64, async (t) => {
  process.env.NODE_EXTRA_CA_CERTS ??= '/dev/null';
  process.env.PCACHE_TEST_WITNESS = 'here';
  const gateway = await mounted(t);
  const { supervisor, engine } = gateway.pids;
  for (const pid of [supervisor, engine]) {
    const environment = environmentOf(pid);
    t.true(environment.includes('PCACHE_TEST_WITNESS=here'));
    t.false(environment.some((each) => each.startsWith('NODE_EXTRA_CA_CERTS=')));
  }
  t.true(environmentOf(engine).some((each) => /^GLIBC_TUNABLES=(.*:)?glibc\.cpu\.x86_non_temporal_threshold=/.test(each)));
});
