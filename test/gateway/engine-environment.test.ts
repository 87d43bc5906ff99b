import test from 'ava';
import { withoutCertificates } from '../../src/gateway/daemon-environment.js';
import { engineEnvironment } from '../../src/gateway/engine-environment.js';

const TUNABLE = 'glibc.cpu.x86_non_temporal_threshold';

test("an engine has its supervisor's environment, in which large copies go past the caches", (t) => {
  t.deepEqual(engineEnvironment({ HOME: '/root' }, 'x64'), { HOME: '/root', GLIBC_TUNABLES: `${TUNABLE}=32768` });
  t.deepEqual(engineEnvironment({ GLIBC_TUNABLES: 'glibc.malloc.check=1' }, 'x64'), {
    GLIBC_TUNABLES: `glibc.malloc.check=1:${TUNABLE}=32768`,
  });
});

test('what a user has said of it stays, and other processors have no such tunable', (t) => {
  const own = { GLIBC_TUNABLES: `${TUNABLE}=0x100000` };
  t.deepEqual(engineEnvironment(own, 'x64'), own);
  t.deepEqual(engineEnvironment({ HOME: '/root' }, 'arm64'), { HOME: '/root' });
});

test('no process of a mount reads certificates', (t) => {
  const env = { NODE_EXTRA_CA_CERTS: '/etc/ssl/certs/all.pem', NODE_OPTIONS: '--trace-warnings' };
  t.deepEqual(withoutCertificates(env), { NODE_OPTIONS: '--trace-warnings' });
  t.is(engineEnvironment(env).NODE_EXTRA_CA_CERTS, undefined);
  t.is(env.NODE_EXTRA_CA_CERTS, '/etc/ssl/certs/all.pem', 'that of the caller is left alone');
});
