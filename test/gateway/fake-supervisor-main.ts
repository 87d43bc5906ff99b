// A real supervisor with a fake engine.

import { runSupervisorProcess } from '../../src/gateway/supervisor-process.js';

runSupervisorProcess({
  engineMain: new URL('./fake-engine-main.js', import.meta.url),
  whyNoRings: () => process.env.PCACHE_FAKE_NO_RINGS,
});
