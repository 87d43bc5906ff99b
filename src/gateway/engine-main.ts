// The main module of the engine process, which the supervisor forks.

import { runEngineProcess } from './engine-process.js';
import { threadedEngine } from './engine-threads.js';

runEngineProcess(threadedEngine());
