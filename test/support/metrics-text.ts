// Reads Prometheus' text format, strictly: what is not a line of it is an error.

export interface ParsedMetrics {
  /** By name and labels, the labels but `mountpoint` in the order of the text: `pcache_requests_total{op="read"}`. */
  readonly samples: ReadonlyMap<string, number>;
  readonly types: ReadonlyMap<string, string>;
  readonly helped: ReadonlySet<string>;
  readonly mountpoints: ReadonlySet<string>;
}

export function parseMetrics(text: string): ParsedMetrics {
  const samples = new Map<string, number>();
  const types = new Map<string, string>();
  const helped = new Set<string>();
  const mountpoints = new Set<string>();
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  for (const line of text.slice(0, -1).split('\n')) {
    const type = /^# TYPE ([a-z_]+) (counter|gauge|histogram)$/.exec(line);
    const help = /^# HELP ([a-z_]+) \S.*$/.exec(line);
    const sample =
      /^([a-z_]+)\{mountpoint="((?:[^"\\\n]|\\["\\n])*)"((?:,[a-z]+="(?:[^"\\\n]|\\["\\n])*")*)\} (\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/.exec(
        line,
      );
    if (type !== null) {
      if (types.has(type[1]!)) throw new Error(`twice: ${line}`);
      types.set(type[1]!, type[2]!);
    } else if (help !== null) {
      helped.add(help[1]!);
    } else if (sample !== null) {
      const key = sample[3] === '' ? sample[1]! : `${sample[1]!}{${sample[3]!.slice(1)}}`;
      if (samples.has(key)) throw new Error(`twice: ${line}`);
      samples.set(key, Number(sample[4]));
      mountpoints.add(sample[2]!);
    } else {
      throw new Error(`not a line of the format: ${line}`);
    }
  }
  return { samples, types, helped, mountpoints };
}
