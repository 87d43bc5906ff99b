// Bundles the programs of a build: the modules that a process or a thread loads become one file, or some. Loading them one by one is most of the time of a start.
//
//   node scripts/bundle.mjs [--remove] [FOLDER]      dist if not given; --remove takes the bundles away
//
// - A bundle is made from what tsc wrote, and lies in FOLDER/bundle. `pcache.js` there, the command, runs it only if it is of this very output of tsc, and
//   the modules otherwise: `made-from` has size and time of tsc's own record, which tsc writes anew whenever it writes a module. So tsc alone makes the
//   bundles unused, and never wrong. A package has no such record, since nothing in it changes.
// - The bundles lie side by side, whatever folders their modules come from. So a module that names the file of another program names one beside it.
// - They are CommonJS, which starts in less time: Node.js does without its loader of ES modules. So no module may await at its top level, which the bundler
//   refuses, and packages must not be ES modules only.
// - What a module imports dynamically is in a file of its own, PROGRAM-HASH.js, and so is what several of these share: a start reads only what it runs, and a program
//   whose first steps matter most does these before the rest is read. A daemon must import nothing late: its files may be replaced meanwhile.
// - Names and lines stay, so that a stack is read without tools; the source maps are for debuggers.
// - Of packages, only what every start needs goes in. All others are loaded from node_modules as before, and when they are needed.
import { build as esbuild, transform } from 'esbuild';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const PROGRAMS = [
  'bin/command-line',
  'src/cli/demo-direct-process',
  'src/cli/task-thread',
  'src/gateway/supervisor-main',
  'src/gateway/engine-main',
  'src/gateway/queue-worker',
  'src/gateway/miss-worker',
  'src/gateway/log-worker',
  'src/gateway/write-worker',
  'src/gateway/background-worker',
];
/** Their licences go beside the bundles. */
const BUNDLED_PACKAGES = new Set(['commander', 'pino']);

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values, positionals } = parseArgs({ allowPositionals: true, options: { remove: { type: 'boolean' } } });
const folder = resolve(root, positionals[0] ?? 'dist');
const target = join(folder, 'bundle');
const unfinished = join(folder, 'bundle.unfinished');

/** The command. In this form since it is all that there is to load before the program. */
const COMMAND = `#!/usr/bin/env node
'use strict';
const fs = require('node:fs');
const record = fs.statSync(\`\${__dirname}/../.tsbuildinfo\`, { throwIfNoEntry: false });
const madeFrom = fs.readFileSync(\`\${__dirname}/made-from\`, 'latin1');
if (record === undefined || madeFrom === \`\${record.size} \${record.mtimeMs}\`) require('./command-line.js');
else import('../bin/command-line.js');
`;

/** Of our own modules' imports, leaves packages that are not to be bundled as they are. What a bundled package needs is bundled with it. */
const otherPackagesStay = {
  name: 'other packages stay',
  setup(context) {
    context.onResolve({ filter: /^[^./]/ }, ({ path, importer, kind }) => {
      if (kind === 'entry-point' || importer.split(sep).includes('node_modules')) return undefined;
      return BUNDLED_PACKAGES.has(path) ? undefined : { path, external: true };
    });
  },
};

const TARGET = { platform: 'node', target: 'node20', logLevel: 'warning' };

/** Resolves with the files that went in, relative to the root. */
async function bundle(program, build) {
  const name = basename(program);
  // The bundler divides programs of ES modules only.
  const { metafile, outputFiles } = await esbuild({
    ...TARGET,
    absWorkingDir: root,
    entryPoints: { [name]: join(folder, `${program}.js`) },
    outdir: unfinished,
    chunkNames: `${name}-[hash]`,
    bundle: true,
    splitting: true,
    write: false,
    format: 'esm',
    define: { bundledBuild: JSON.stringify(build) },
    sourcemap: 'inline',
    metafile: true,
    plugins: [otherPackagesStay],
  });
  await Promise.all(outputFiles.map(({ path, text }) => writeAsCommonJs(path, text)));
  return Object.keys(metafile.inputs);
}

async function writeAsCommonJs(path, text) {
  const { code, map } = await transform(text, {
    ...TARGET,
    format: 'cjs',
    // Becomes `require`.
    supported: { 'dynamic-import': false },
    define: { 'import.meta.url': 'bundleUrl' },
    banner: "'use strict';\nconst bundleUrl = require('node:url').pathToFileURL(__filename).href;",
    sourcefile: path,
    sourcemap: 'external',
  });
  writeFileSync(path, `${code}//# sourceMappingURL=${basename(path)}.map\n`);
  writeFileSync(`${path}.map`, map);
}

/** Of all modules that may be bundled, and of the versions of the packages: what `src/gateway/program-build.ts` is about. */
function digestOfBuild() {
  const modules = ['bin', 'src'].flatMap((part) =>
    readdirSync(join(folder, part), { recursive: true })
      .filter((path) => path.endsWith('.js'))
      .map((path) => join(folder, part, path)),
  );
  const hash = createHash('sha256');
  for (const path of [join(root, 'package-lock.json'), ...modules.sort()])
    hash.update(`${relative(folder, path)}\0`).update(readFileSync(path));
  return hash.digest('hex');
}

/** The licences of the packages that these files belong to, each once. */
function licencesOf(files) {
  const packages = new Set(files.map((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0]).filter((path) => path !== undefined));
  return [...packages].sort().map((path) => {
    const { name, version, license } = JSON.parse(readFileSync(join(root, path, 'package.json'), 'utf8'));
    const file = readdirSync(join(root, path)).find((entry) => /^licen[cs]e/i.test(entry));
    if (file === undefined) throw new Error(`${path}: no licence to go with its code`);
    return `${name} ${version} (${license})\n\n${readFileSync(join(root, path, file), 'utf8').trim()}\n`;
  });
}

/** Which modules went in, as `sha256sum -c` in the build folder reads it: for whoever wants more than `made-from`, the tests say. */
function digestsOf(files) {
  const modules = [...new Set(files.map((file) => relative(folder, resolve(root, file))))].filter((path) => /^(bin|src)\//.test(path));
  const digest = (path) =>
    createHash('sha256')
      .update(readFileSync(join(folder, path)))
      .digest('hex');
  return modules.sort().map((path) => `${digest(path)}  ${path}\n`);
}

/** Another process may start programs meanwhile: it finds all of the bundles, or none. */
async function bundleAll() {
  const built = join(folder, '.tsbuildinfo');
  if (!existsSync(built)) {
    process.stderr.write(`${relative(root, built)}: not there: run tsc first\n`);
    process.exit(1);
  }
  const { size, mtimeMs } = statSync(built);
  const build = digestOfBuild();
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished);
  const files = (await Promise.all(PROGRAMS.map((program) => bundle(program, build)))).flat();
  writeFileSync(join(unfinished, 'LICENSES'), licencesOf(files).join(`\n${'-'.repeat(80)}\n\n`));
  writeFileSync(join(unfinished, 'pcache.js'), COMMAND, { mode: 0o755 });
  writeFileSync(join(unfinished, 'package.json'), '{ "type": "commonjs" }\n');
  writeFileSync(join(unfinished, 'modules.sha256'), digestsOf(files).join(''));
  writeFileSync(join(unfinished, 'made-from'), `${size} ${mtimeMs}`);
  rmSync(target, { recursive: true, force: true });
  renameSync(unfinished, target);
}

if (values.remove) rmSync(target, { recursive: true, force: true });
else await bundleAll();
