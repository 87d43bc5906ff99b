// The conformance suite on FUSE over io_uring, with files in memory.

import { whyNoRings } from '../../src/fuse/ring-support.js';
import { memoryConformance } from './memory-conformance.js';
import { whyNoFuse } from './memory-mount.js';

memoryConformance('io-uring', whyNoFuse() ?? whyNoRings(), { ioUring: true });
