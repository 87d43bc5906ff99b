// Node ids of the files of a mount that is a directory. In one that is a file, the root is the volume.

export const VOLUME_NODEID = 2;
export const STATS_NODEID = 3;
export const METRICS_NODEID = 4;
