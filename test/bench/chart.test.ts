import test from 'ava';
import { chartSvg, escapeXml } from '../../bench/chart.js';
import { result, sampleReport } from './sample-report.js';

const READ = 'randread-4k-16x4';
const results = [
  result('dev-fuse', READ, 0, 150_000),
  result('null-mt', READ, 0, 100_000),
  result('qemu', READ, 0, 30_000),
  result('dev-fuse', 'read-1m-1x1', 0, 4000, { bytesPerSecond: 4.2e9 }),
];
const svg = chartSvg(sampleReport(results));

/** Width of a bar of a color class, by its order in the picture. */
function widths(color: string): number[] {
  return [...svg.matchAll(new RegExp(`class="${color}"[^>]* width="([\\d.]+)"`, 'g'))].map((match) => Number(match[1]));
}

test('there is a panel for each test with results, and a bar for each subject in it', (t) => {
  t.is([...svg.matchAll(/class="title"/g)].length, 2);
  t.is([...svg.matchAll(/class="track"/g)].length, 4);
  t.true(svg.includes('4 KiB random read, depth 16, 4 jobs'));
});

test('bars are as long as their values, against the longest of their panel', (t) => {
  const [full, alone] = widths('gateway');
  t.is(full, alone);
  t.is(widths('null')[0]!.toFixed(0), ((full! * 2) / 3).toFixed(0));
  t.is(widths('peer')[0]!.toFixed(0), (full! / 5).toFixed(0));
});

test('values stand beside the bars, with the ratio where there is one', (t) => {
  for (const text of ['150 k/s', '1.50x', '100 k/s', '1.00x', '30.0 k/s', '0.30x', '4.20 GB/s']) t.true(svg.includes(`>${text}<`), text);
  t.is([...svg.matchAll(/x<\/text>/g)].length, 3);
});

test('a transport alone is a line across the bars of its gateways, in the scale of the bars', (t) => {
  const subjects = [
    { id: 'dev-fuse', title: 'dev-fuse', kind: 'gateway' },
    { id: 'null-dev-fuse', title: 'dev-fuse alone', kind: 'transport' },
    { id: 'null-mt', title: 'null image', kind: 'null' },
  ] as const;
  const rates = [result('dev-fuse', READ, 0, 100_000), result('null-dev-fuse', READ, 0, 200_000), result('null-mt', READ, 0, 50_000)];
  const picture = chartSvg(sampleReport(rates, { subjects }));
  const bar = (color: string): number => Number(new RegExp(`class="${color}" x="200"[^>]* width="([\\d.]+)"`).exec(picture)![1]);
  const lines = [...picture.matchAll(/class="alone" d="M([\d.]+) /g)].map((match) => Number(match[1]));
  t.deepEqual(lines, [200 + bar('track')]);
  t.is(bar('gateway'), bar('track') / 2);
  t.false(picture.includes('dev-fuse alone'));
  // Without gateways it has a bar.
  t.true(chartSvg(sampleReport(rates.slice(1), { subjects })).includes('dev-fuse alone'));
  t.false(svg.includes('class="alone"'));
});

test('the picture is well-formed: tags are balanced and text is escaped', (t) => {
  t.true(svg.includes('qemu &amp; co. &lt;1&gt;'));
  t.is(escapeXml('<a href="x">&'), '&lt;a href=&quot;x&quot;&gt;&amp;');
  const open: string[] = [];
  for (const [, closing, name, selfClosing] of svg.matchAll(/<(\/?)([a-z]+)[^>]*?(\/?)>/g)) {
    if (closing === '/') t.is(open.pop(), name);
    else if (selfClosing === '') open.push(name!);
  }
  t.deepEqual(open, []);
});

test('the picture has its own background and colors for light and dark, and takes nothing from elsewhere', (t) => {
  t.regex(svg, /@media \(prefers-color-scheme: dark\)/);
  t.regex(svg, /<rect class="page" width="(\d+)" height="(\d+)"/);
  t.deepEqual(svg.match(/https?:[^"]*/g), ['http://www.w3.org/2000/svg']);
});

test('without results there is an empty picture, not an error', (t) => {
  t.notThrows(() => chartSvg(sampleReport([])));
});
