// Turns what a terminal shows (as `tmux capture-pane -e -p` prints it: text with SGR sequences) into an SVG. Blocks, lines and braille are drawn as
// shapes, and every run of text is given its width, so that the picture looks the same with any monospace font.

const CELL_WIDTH = 8.4;
const CELL_HEIGHT = 18;
const FONT_SIZE = 14;
const BASELINE = 13.5;
const PADDING = 14;
const TITLE_BAR = 30;
const FOREGROUND = '#c9d1d9';
const BACKGROUND = '#0d1117';
const BAR = '#161b22';

const basicColours = [
  ...['#484f58', '#ff7b72', '#3fb950', '#d29922', '#58a6ff', '#bc8cff', '#39c5cf', '#b1bac4'],
  ...['#6e7681', '#ffa198', '#56d364', '#e3b341', '#79c0ff', '#d2a8ff', '#56d4dd', '#ffffff'],
];

/** Colour `number` of the 256 of xterm. */
function colour(number) {
  if (number < 16) return basicColours[number];
  const hex = (value) => value.toString(16).padStart(2, '0');
  if (number >= 232) return `#${hex(8 + (number - 232) * 10).repeat(3)}`;
  const level = (value) => hex(value === 0 ? 0 : 55 + value * 40);
  const cube = number - 16;
  return `#${level(Math.floor(cube / 36))}${level(Math.floor(cube / 6) % 6)}${level(cube % 6)}`;
}

const PLAIN = { foreground: undefined, background: undefined, bold: false, inverse: false };

/** The state after SGR parameters. */
function afterSgr(state, parameters) {
  let next = { ...state };
  const codes = parameters === '' ? [0] : parameters.split(/[;:]/).map(Number);
  for (let at = 0; at < codes.length; at++) {
    const code = codes[at];
    if (code === 0) next = { ...PLAIN };
    else if (code === 1) next.bold = true;
    else if (code === 22) next.bold = false;
    else if (code === 7) next.inverse = true;
    else if (code === 27) next.inverse = false;
    else if (code >= 30 && code <= 37) next.foreground = colour(code - 30);
    else if (code >= 90 && code <= 97) next.foreground = colour(code - 82);
    else if (code === 39) next.foreground = undefined;
    else if (code >= 40 && code <= 47) next.background = colour(code - 40);
    else if (code >= 100 && code <= 107) next.background = colour(code - 92);
    else if (code === 49) next.background = undefined;
    else if ((code === 38 || code === 48) && codes[at + 1] === 5) {
      next[code === 38 ? 'foreground' : 'background'] = colour(codes[at + 2]);
      at += 2;
    }
  }
  return next;
}

/** Lines of cells {character, foreground, background, bold}. */
function cellsOf(text) {
  let state = PLAIN;
  return text.split('\n').map((line) => {
    const cells = [];
    // eslint-disable-next-line no-control-regex -- the escape character is what is looked for
    for (const [, sgr, character] of line.matchAll(/\u001b\[([\d;:]*)m|\u001b[^[]|(.)/gu)) {
      if (sgr !== undefined) state = afterSgr(state, sgr);
      if (character === undefined) continue;
      const { inverse, bold } = state;
      const [foreground, background] = [state.foreground ?? FOREGROUND, state.background ?? BACKGROUND];
      cells.push({ character, bold, foreground: inverse ? background : foreground, background: inverse ? foreground : background });
    }
    return cells;
  });
}

const number = (value) => String(Math.round(value * 100) / 100);
const escape = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const rectangle = (x, y, width, height, fill, more = '') =>
  `<rect x="${number(x)}" y="${number(y)}" width="${number(width)}" height="${number(height)}" fill="${fill}"${more}/>`;

/** A character that is a shape, as the path of rectangles in its cell; undefined for text. */
function shapeOf(character, x, y) {
  const code = character.codePointAt(0);
  const box = (left, top, width, height) => `M${number(x + left)} ${number(y + top)}h${number(width)}v${number(height)}h${number(-width)}z`;
  if (code >= 0x2581 && code <= 0x2588) {
    const height = ((code - 0x2580) / 8) * (CELL_HEIGHT - 3);
    return box(0, CELL_HEIGHT - 1.5 - height, CELL_WIDTH, height);
  }
  if (character === '▒') {
    let path = '';
    for (let row = 0; row < 5; row++) path += box(0, 1.5 + row * 3.2, CELL_WIDTH, 1.6);
    return path;
  }
  if (character === '─') return box(0, CELL_HEIGHT / 2 - 0.5, CELL_WIDTH, 1);
  if (character === '━') return box(0, CELL_HEIGHT / 2 - 1.5, CELL_WIDTH, 3);
  if (code <= 0x2800 || code > 0x28ff) return undefined;
  const bits = [
    [0x01, 0, 0],
    [0x02, 0, 1],
    [0x04, 0, 2],
    [0x40, 0, 3],
    [0x08, 1, 0],
    [0x10, 1, 1],
    [0x20, 1, 2],
    [0x80, 1, 3],
  ];
  return bits
    .filter(([bit]) => (code & bit) !== 0)
    .map(([, column, row]) => box(0.5 + (column * CELL_WIDTH) / 2, 0.5 + (row * CELL_HEIGHT) / 4, CELL_WIDTH / 2 - 1, CELL_HEIGHT / 4 - 1))
    .join('');
}

/** Consecutive cells of which `same` says that they go together. */
function runs(cells, same) {
  const result = [];
  for (const [column, cell] of cells.entries()) {
    const last = result.at(-1);
    if (last !== undefined && same(last.cells.at(-1), cell)) last.cells.push(cell);
    else result.push({ column, cells: [cell] });
  }
  return result;
}

/** @param text what the terminal shows @param size {columns, rows} @param title what stands above it @returns the SVG */
export function svgOf(text, { columns, rows }, title) {
  const width = columns * CELL_WIDTH + 2 * PADDING;
  const height = rows * CELL_HEIGHT + TITLE_BAR + 2 * PADDING;
  const lines = cellsOf(text.replace(/\n$/, '')).slice(0, rows);
  const body = [];
  for (const [row, cells] of lines.entries()) {
    const y = TITLE_BAR + PADDING + row * CELL_HEIGHT;
    for (const { column, cells: run } of runs(cells, (a, b) => a.background === b.background)) {
      const fill = run[0].background;
      if (fill !== BACKGROUND) body.push(rectangle(PADDING + column * CELL_WIDTH, y, run.length * CELL_WIDTH, CELL_HEIGHT, fill));
    }
    const shapes = new Map();
    for (const [column, { character, foreground }] of cells.entries()) {
      const shape = shapeOf(character, PADDING + column * CELL_WIDTH, y);
      if (shape !== undefined) shapes.set(foreground, (shapes.get(foreground) ?? '') + shape);
    }
    for (const [fill, path] of shapes) body.push(`<path d="${path}" fill="${fill}"/>`);
    const isText = ({ character }) => character !== ' ' && shapeOf(character, 0, 0) === undefined;
    const sameText = (a, b) => isText(a) && isText(b) && a.foreground === b.foreground && a.bold === b.bold;
    for (const { column, cells: run } of runs(cells, sameText)) {
      if (!isText(run[0])) continue;
      const { foreground, bold } = run[0];
      const fill = foreground === FOREGROUND ? '' : ` fill="${foreground}"`;
      const weight = bold ? ' font-weight="bold"' : '';
      const x = number(PADDING + column * CELL_WIDTH);
      const length = run.length === 1 ? '' : ` textLength="${number(run.length * CELL_WIDTH)}" lengthAdjust="spacingAndGlyphs"`;
      body.push(
        `<text x="${x}" y="${number(y + BASELINE)}"${fill}${weight}${length}>${escape(run.map((each) => each.character).join(''))}</text>`,
      );
    }
  }
  const lights = ['#ff5f57', '#febc2e', '#28c840'].map(
    (fill, at) => `<circle cx="${PADDING + 6 + at * 20}" cy="${TITLE_BAR / 2}" r="6" fill="${fill}"/>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${number(width)}" height="${number(height)}" viewBox="0 0 ${number(width)} ${number(height)}"`,
    ` font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="${FONT_SIZE}" fill="${FOREGROUND}">\n`,
    `<title>${escape(title)}</title>\n`,
    rectangle(0, 0, width, height, BACKGROUND, ' rx="8"'),
    `<path d="M0 ${TITLE_BAR}V8q0 -8 8 -8H${number(width - 8)}q8 0 8 8V${TITLE_BAR}z" fill="${BAR}"/>`,
    ...lights,
    `<text x="${number(width / 2)}" y="${TITLE_BAR / 2 + 5}" text-anchor="middle" fill="#8b949e">${escape(title)}</text>\n`,
    body.join('\n'),
    '\n</svg>\n',
  ].join('');
}
