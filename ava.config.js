// PCACHE_BUILD names another build folder, so that two builds can be tested side by side.
const build = process.env.PCACHE_BUILD ?? 'dist';

export default {
  files: [`${build}/test/**/*.test.js`],
  workerThreads: false,
  // Mount tests share one machine's loop devices and two cores: files run one after another, and every test has a bound.
  concurrency: 1,
  timeout: '5m',
};
