// Whether a backing device is the one whose identity the gateway header keeps. What the forms are, see `device/backing-identity`.

/** `file:FSID:INODE:BORN`, also within the identity of a loop device. */
const FILE_WITH_BIRTH = /(file:[^:+]+:\d+):\d+\.\d{9}/;

/**
 * True for the same identity, and for a file that was stored before the time of its birth was part of the name. The other way round is a mismatch: a
 * file whose birth is not known may be another one with the same number.
 */
export function isStoredIdentity(stored: string, current: string): boolean {
  return stored === current || stored === current.replace(FILE_WITH_BIRTH, '$1');
}
