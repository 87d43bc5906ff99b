// Kset sequence numbers are claimed in blocks: the gateway header stores a limit that none has reached, durably, before numbers up to it
// are used. So no number is used twice, whatever is lost.

/** Numbers claimed at a time. 2^48 of them last for 16 million claims. */
export const SEQUENCE_CLAIM = 2 ** 24;
