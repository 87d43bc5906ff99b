// The conformance suite on /dev/fuse, with a regular file as the mount point.

import { memoryConformance } from './memory-conformance.js';
import { whyNoFuse } from './memory-mount.js';

memoryConformance('dev-fuse, single file', whyNoFuse(), { kind: 'file', queues: 1, workersPerQueue: 3 });
