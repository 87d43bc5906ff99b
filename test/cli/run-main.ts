// Runs the command line in this process and keeps what it says.

import { main } from '../../src/cli/main.js';

export interface Ended {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

const streams = ['stdout', 'stderr'] as const;
const writes = streams.map((name) => process[name].write.bind(process[name]));

/** Runs `main` and keeps what it says. */
export async function runMain(args: readonly string[]): Promise<Ended> {
  const said = { stdout: '', stderr: '' };
  for (const name of streams) {
    process[name].write = (text: string | Uint8Array): boolean => {
      said[name] += typeof text === 'string' ? text : Buffer.from(text).toString();
      return true;
    };
  }
  try {
    return { status: await main(args), ...said };
  } finally {
    for (const [at, name] of streams.entries()) process[name].write = writes[at]!;
  }
}
