// The main module of the engine process, which the supervisor forks.

import { runEngineProcess } from './engine-process.js';
import { startEngine } from './engine-threads.js';

runEngineProcess(startEngine);
