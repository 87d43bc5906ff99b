// Which build of the program this is. The processes and threads of a mount are started at different times, each from the files that are there then: an engine may
// die months after its supervisor was started, and the package may have been replaced in between. What they tell each other has no version of its own, so what
// starts one of them tells it its build, and one of another build does not begin: it would take what it is told for something else.
//
// A spare engine has loaded its programs before, so the first death of an engine after such a change is survived all the same.

/** The digest of all modules; scripts/bundle.mjs puts it in. */
declare const bundledBuild: string;

/** Modules that are not bundled are those of somebody who changes them, and are all alike here. */
export const programBuild = typeof bundledBuild === 'undefined' ? 'modules' : bundledBuild;

/** What an engine process ends with that is of another build than its supervisor. */
export const EXIT_OTHER_BUILD = 78;

export const OTHER_BUILD =
  'the files of the program were replaced by another version since the volume was mounted: unmount it, and mount it again';
