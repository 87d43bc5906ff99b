// The results as a picture: a panel for each test, a bar for each subject. A transport with nothing behind it is a line across the bars of its gateways. One SVG without scripts, fonts or anything outside of it, which brings its own
// background, so that it can be read on light and dark pages alike. Pure.

import { isAboutBytes, shortNumber, type BenchReport, type SubjectFacts } from './report.js';
import type { GridTest } from './fio.js';
import { transportAlone, transportOf } from './results.js';

const PANEL_WIDTH = 490;
const GAP = 24;
const MARGIN = 20;
const TITLE_HEIGHT = 26;
const ROW_HEIGHT = 19;
const BAR_HEIGHT = 13;
/** How far the line of a transport stands out of a bar. */
const LINE_OVER = 2;
const LABEL_WIDTH = 200;
const VALUE_WIDTH = 112;
const HEAD_HEIGHT = 44;
const FOOT_HEIGHT = 18;
const COLUMNS = 2;

const STYLE = `
  svg { font: 12px system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif; }
  .page { fill: #ffffff; } text { fill: #1f2328; } .soft { fill: #59636e; }
  .title { font-weight: 600; font-size: 13px; } .head { font-weight: 600; font-size: 16px; }
  .track { fill: #eff1f3; } .gateway { fill: #0969da; } .ring { fill: #1a7f37; } .null { fill: #818b98; } .peer { fill: #bc8f3f; } .transport { fill: #59636e; }
  .end { text-anchor: end; } .crc { opacity: 0.6; } .disk { opacity: 0.6; } .alone { stroke: #1f2328; stroke-width: 2; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; } text { fill: #e6edf3; } .soft { fill: #9198a1; } .track { fill: #1c2129; } .alone { stroke: #e6edf3; }
    .gateway { fill: #4493f8; } .ring { fill: #3fb950; } .null { fill: #7d8590; } .peer { fill: #d29922; } .transport { fill: #9198a1; }
  }`;

interface Bar {
  readonly subject: SubjectFacts;
  readonly value: number;
  readonly ratio: number | undefined;
  /** What its transport does alone, if the subject is a gateway. */
  readonly alone: number | undefined;
}

export function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

function barsOf(report: BenchReport, test: GridTest): Bar[] {
  const rateOf = (subject: string | undefined): number | undefined => {
    const summary = report.summaries.find((each) => each.test === test.id && each.subject === subject);
    return isAboutBytes(test) ? summary?.bytesPerSecond.median : summary?.requestsPerSecond.median;
  };
  const bars = report.subjects.flatMap((subject): Bar[] => {
    const value = rateOf(subject.id);
    if (value === undefined) return [];
    const ratio = report.summaries.find((each) => each.test === test.id && each.subject === subject.id)?.ratio?.median;
    const transport = transportOf(subject.id);
    return [{ subject, value, ratio, alone: transport === undefined ? undefined : rateOf(transportAlone(transport)) }];
  });
  const hasGateway = bars.some(({ subject }) => subject.kind === 'gateway');
  return hasGateway ? bars.filter(({ subject }) => subject.kind !== 'transport') : bars;
}

function classOf({ id, kind }: SubjectFacts): string {
  const color = kind === 'gateway' && id.startsWith('io-uring') ? 'ring' : kind;
  return [color, ...(id.endsWith('-crc') ? ['crc'] : []), ...(id.endsWith('-disk') ? ['disk'] : [])].join(' ');
}

function valueText(test: GridTest, value: number): string {
  return isAboutBytes(test) ? `${shortNumber(value / 1e9)} GB/s` : `${shortNumber(value)}/s`;
}

function panel(test: GridTest, bars: readonly Bar[], x: number, y: number): string {
  const largest = Math.max(...bars.flatMap(({ value, alone }) => [value, alone ?? 0]));
  const track = PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH - 12;
  const rows = bars.map((bar, index) => {
    const top = TITLE_HEIGHT + index * ROW_HEIGHT;
    const width = Math.max(1, (bar.value / largest) * track).toFixed(1);
    const lineX = LABEL_WIDTH + ((bar.alone ?? 0) / largest) * track;
    return [
      `<text class="end" x="${LABEL_WIDTH - 8}" y="${top + 11}">${escapeXml(bar.subject.title)}</text>`,
      `<rect class="track" x="${LABEL_WIDTH}" y="${top}" width="${track}" height="${BAR_HEIGHT}" rx="2"/>`,
      `<rect class="${classOf(bar.subject)}" x="${LABEL_WIDTH}" y="${top}" width="${width}" height="${BAR_HEIGHT}" rx="2"/>`,
      bar.alone === undefined ? '' : `<path class="alone" d="M${lineX.toFixed(1)} ${top - LINE_OVER}v${BAR_HEIGHT + 2 * LINE_OVER}"/>`,
      `<text class="soft" x="${LABEL_WIDTH + track + 6}" y="${top + 11}">${valueText(test, bar.value)}</text>`,
      bar.ratio === undefined ? '' : `<text class="soft end" x="${PANEL_WIDTH}" y="${top + 11}">${bar.ratio.toFixed(2)}x</text>`,
    ].join('');
  });
  return `<g transform="translate(${x} ${y})"><text class="title" x="0" y="14">${escapeXml(test.title)}</text>${rows.join('')}</g>`;
}

/** The picture. `x` after a rate is the ratio to the better of the null image's two modes. */
export function chartSvg(report: BenchReport): string {
  const panels = report.tests.map((test) => ({ test, bars: barsOf(report, test) })).filter(({ bars }) => bars.length > 0);
  let y = MARGIN + HEAD_HEIGHT;
  const drawn: string[] = [];
  for (let first = 0; first < panels.length; first += COLUMNS) {
    const row = panels.slice(first, first + COLUMNS);
    row.forEach(({ test, bars }, column) => drawn.push(panel(test, bars, MARGIN + column * (PANEL_WIDTH + GAP), y)));
    y += TITLE_HEIGHT + Math.max(...row.map(({ bars }) => bars.length)) * ROW_HEIGHT + GAP;
  }
  const width = 2 * MARGIN + COLUMNS * PANEL_WIDTH + (COLUMNS - 1) * GAP;
  const height = y + FOOT_HEIGHT;
  const { machine, rounds } = report;
  const hasLines = panels.some(({ bars }) => bars.some(({ alone }) => alone !== undefined));
  const lines = hasLines ? '; line: the transport alone, without a cache' : '';
  const facts = `${machine.cores} cores, Linux ${machine.kernel}, ${report.startedAt.slice(0, 10)}; median of ${rounds} round${rounds === 1 ? '' : 's'}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="Benchmark results">`,
    `<style>${STYLE}\n</style>`,
    `<rect class="page" width="${width}" height="${height}" rx="8"/>`,
    `<text class="head" x="${MARGIN}" y="${MARGIN + 14}">The same tests on the same machine, in turn; longer is better</text>`,
    `<text class="soft" x="${MARGIN}" y="${MARGIN + 32}">${escapeXml(facts)}; x: against a null image in C with libfuse 3, same round${lines}</text>`,
    ...drawn,
    '</svg>',
    '',
  ].join('\n');
}
