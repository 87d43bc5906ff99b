// The supervisor on a kernel before Linux 6.9, which can't send requests again: all the same, but for what INIT settled.

import { negotiate } from '../../src/fuse/session.js';
import { runSupervisorProcess } from '../../src/gateway/supervisor-process.js';

runSupervisorProcess({ negotiate: (fd) => ({ ...negotiate(fd), canResend: false }) });
