// How a data thread logs errors of single requests.

import { messageOf } from '../errors.js';
import { RareNotes } from './rare-notes.js';
import { tellMain } from './thread-messages.js';

const notes = new RareNotes(
  () => performance.now(),
  (text) => tellMain({ type: 'note', level: 'error', text }),
);

/** Logs the error of a request: a line now and then, not one for each. */
export function noteRequestError(what: string, error: unknown): void {
  notes.note(`${what}: ${messageOf(error)}`);
}
