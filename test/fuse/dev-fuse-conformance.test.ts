// The conformance suite on /dev/fuse, with files in memory: with answers that are sent together where there are several, and one by one.

import { memoryConformance } from './memory-conformance.js';
import { whyNoFuse } from './memory-mount.js';

memoryConformance('dev-fuse', whyNoFuse(), { isEager: true });
memoryConformance('dev-fuse, one by one', whyNoFuse(), { isEager: false });
