// The main module of a supervisor in the background, which `pcache mount` starts.

import { runSupervisorProcess } from './supervisor-process.js';

runSupervisorProcess();
