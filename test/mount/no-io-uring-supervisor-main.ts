// A supervisor of engines whose kernel forbids io_uring, as it does in some containers: it and all that it starts have none.

import { runSupervisorProcess } from '../../src/gateway/supervisor-process.js';
import { forbidIoUring } from '../support/forbid-io-uring.js';

forbidIoUring();
runSupervisorProcess({});
