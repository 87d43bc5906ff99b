// The main module of the engine process, which the supervisor forks. The threads are started before the rest of this process's program is loaded.

import { outlineOf } from './engine.js';
import { threadedEngine } from './threaded-engine.js';

const program = threadedEngine();
const outline = outlineOf(process.argv.slice(2));
// What fails here fails the process, and the supervisor makes another.
if (outline !== undefined) void program.prepare?.(outline);
void import('./engine-process.js').then(({ runEngineProcess }) => runEngineProcess(program));
