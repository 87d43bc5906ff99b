// The supervisor of `pcache mount`, but for one thing: it never gives up an engine that dies often, since here it is killed more often than any engine of
// a user would die. A volume must not have a way to be told this from outside.

import { RestartPolicy } from '../../src/gateway/restart-policy.js';
import { runSupervisorProcess } from '../../src/gateway/supervisor-process.js';

/** Deaths within one millisecond that nothing reaches. */
const NEVER = 1000;

runSupervisorProcess({ restarts: new RestartPolicy(NEVER, 1) });
