// The environment for an npm that a script of this package runs on its own folder, when the script itself may be run by another npm, which is called for something
// else (`npm install --global .`, `npm pack --dry-run`): what that one was told must not reach this one. Its caches, registries and proxies should.

/** Settings that say what is to be done and where to. All of them are names of npm's options. */
const OF_ONE_CALL = new Set([
  ...[
    'allow_scripts',
    'also',
    'dev',
    'dry_run',
    'force',
    'global',
    'global_prefix',
    'globalconfig',
    'ignore_scripts',
    'include',
    'install_links',
  ],
  ...[
    'install_strategy',
    'json',
    'local_prefix',
    'location',
    'only',
    'omit',
    'optional',
    'package_lock',
    'package_lock_only',
    'prefix',
    'production',
    'save',
  ],
  ...['workspace', 'workspaces'],
]);

export function npmEnvironment(env = process.env) {
  const entries = Object.entries(env).filter(([name]) => {
    const option = /^npm_config_(.*)$/i.exec(name)?.[1]?.toLowerCase().replaceAll('-', '_');
    // NODE_ENV=production would leave out what builds.
    return option === undefined ? !['NODE_ENV', 'INIT_CWD', 'npm_command'].includes(name) : !OF_ONE_CALL.has(option);
  });
  return Object.fromEntries(entries);
}
