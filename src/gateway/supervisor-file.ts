// Where the main module of a supervisor in the background is. Bundled programs lie side by side (scripts/bundle.mjs), so a module names only
// files beside it.

export const supervisorMain = new URL('./supervisor-main.js', import.meta.url);
