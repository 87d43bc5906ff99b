// Errors that were made where nobody knew the name of what they are about.

import { PcacheError } from '../errors.js';

/** The same error with `what` in front of its message, unless its message begins so already. */
export function errorAbout(what: string, error: PcacheError): PcacheError {
  if (error.message.startsWith(what)) return error;
  return new PcacheError(error.code, `${what}: ${error.message}`, {
    cause: error,
    ...(error.errno === undefined ? {} : { errno: error.errno }),
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  });
}
