// The main module of the engine process, which the supervisor forks. The threads are started before the rest of this process's program is loaded.

import { areOfOtherBuild } from './engine.js';
import { EXIT_FAILED, exitProcess } from './process-exit.js';
import type { MessageToEngine } from './process-messages.js';
import { EXIT_OTHER_BUILD } from './program-build.js';
import { threadedEngine } from './threaded-engine.js';

// Before anything of the volume could be received.
if (areOfOtherBuild(process.argv.slice(2))) exitProcess(EXIT_OTHER_BUILD);

const program = threadedEngine();
/** What is told before the process is ready to hear it. Node keeps no message that nobody listens to. */
const messages: MessageToEngine[] = [];

async function runProcess(): Promise<void> {
  const { runEngineProcess } = await import('./engine-process.js');
  process.off('message', hear);
  runEngineProcess(program, messages);
}

function hear(message: MessageToEngine): void {
  if (message.type !== 'prepare') {
    messages.push(message);
    return;
  }
  process.off('disconnect', endUnused);
  // What fails here fails the process, and the supervisor makes another.
  void program.prepare?.(message.outline);
  void runProcess();
}

/** The mount was given up before anything was known of it. */
function endUnused(): void {
  exitProcess(EXIT_FAILED);
}

if (process.connected) process.once('disconnect', endUnused).on('message', hear);
else void runProcess();
