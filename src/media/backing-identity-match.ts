// Whether a backing device is the one whose identity the gateway header keeps. What the forms are, see `device/backing-identity`.

/** `file:FSID:INODE:BORN`, also within the identity of a loop device. */
const FILE_WITH_BIRTH = /(file:[^:+]+:\d+):\d+\.\d{9}/;
/** A loop device that begins where its file begins. */
const LOOP_FROM_START = /^loop-of:(.+)\+0$/;

/**
 * Whether `current` is what was `stored`, given that the sizes agree. A file and a loop device over all of it are the same bytes. A file that was
 * stored before the time of its birth was part of the name is the same file. The other way round is a mismatch: a file whose birth is not known may be
 * another one with the same number.
 */
export function isStoredIdentity(stored: string, current: string): boolean {
  const [was, is] = [withoutLoops(stored), withoutLoops(current)];
  return was === is || was === is.replace(FILE_WITH_BIRTH, '$1');
}

function withoutLoops(identity: string): string {
  const below = LOOP_FROM_START.exec(identity)?.[1];
  return below === undefined ? identity : withoutLoops(below);
}
