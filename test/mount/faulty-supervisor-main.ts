// A supervisor of engines into which a test can plant faults, and which it lets die as often as the test likes.

import { RestartPolicy } from '../../src/gateway/restart-policy.js';
import { runSupervisorProcess } from '../../src/gateway/supervisor-process.js';

runSupervisorProcess({ engineMain: new URL('./faulty-engine-main.js', import.meta.url), restarts: new RestartPolicy(1000, 1) });
