// What a service manager has told this command through its environment, see sd_notify(3) and sd_watchdog_enabled(3).

import type { ServicePlan } from '../gateway/process-messages.js';

const SERVICE_VARIABLES = ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'];

/** A copy without what a service manager says to this process. */
export function withoutServiceVariables(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !SERVICE_VARIABLES.includes(name)));
}

/**
 * Takes it out of the environment: the processes of a mount must not think it meant for them. Undefined if nobody wants to hear, or the address is for
 * something other than a socket of the Unix domain.
 */
export function takeServicePlan(env: NodeJS.ProcessEnv = process.env, pid = process.pid): ServicePlan | undefined {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: microseconds, WATCHDOG_PID: watchedPid } = env;
  for (const name of SERVICE_VARIABLES) Reflect.deleteProperty(env, name);
  if (socket === undefined || !/^[/@]./.test(socket)) return undefined;
  const isWatched = watchedPid === undefined || Number(watchedPid) === pid;
  const watchdogUs = isWatched && /^[1-9]\d{0,15}$/.test(microseconds ?? '') ? Number(microseconds) : undefined;
  return { socket, watchdogUs };
}
