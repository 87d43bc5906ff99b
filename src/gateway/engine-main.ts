// The main module of the engine process, which the supervisor forks. The threads are started before the rest of this process's program is loaded.

import { areOfOtherBuild, outlineOf } from './engine.js';
import { exitProcess } from './process-exit.js';
import { EXIT_OTHER_BUILD } from './program-build.js';
import { threadedEngine } from './threaded-engine.js';

// Before anything of the volume could be received.
if (areOfOtherBuild(process.argv.slice(2))) exitProcess(EXIT_OTHER_BUILD);

const program = threadedEngine();
const outline = outlineOf(process.argv.slice(2));
// What fails here fails the process, and the supervisor makes another.
if (outline !== undefined) void program.prepare?.(outline);
void import('./engine-process.js').then(({ runEngineProcess }) => runEngineProcess(program));
