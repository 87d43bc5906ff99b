// What commander finds wrong with arguments, in the form of all other errors: WHAT: WHY.

const forms: readonly (readonly [RegExp, (...parts: string[]) => string])[] = [
  [
    /^option '(.+)' argument '(.*)' is invalid\. Allowed choices are (.+)$/s,
    (option, value, choices) => notOneOf(flagOf(option), value, choices),
  ],
  [
    /^command-argument value '(.*)' is invalid for argument '(.+)'\. Allowed choices are (.+)$/s,
    (value, name, choices) => notOneOf(name, value, choices),
  ],
  [/^missing required argument '(.+)'$/, (name) => `${name.toUpperCase()} is missing`],
  [/^option '(.+)' argument missing$/, (option) => `${flagOf(option)}: its value is missing`],
  [/^unknown option '(.+)'$/s, (option) => `${option}: unknown option`],
  [/^unknown command '(.+)'$/s, (name) => `${name}: unknown command`],
  [
    /^too many arguments(?: for '.+')?\. Expected (\d+) arguments? but got (\d+)$/,
    (most, given) => `too many arguments: ${given}, ${most} at most`,
  ],
];

/** `found`: commander's words, without `error: ` and the full stop. Those that are not known stay as they are. */
export function usageWords(found: string): string {
  for (const [form, words] of forms) {
    const match = form.exec(found);
    if (match !== null) return words(...match.slice(1));
  }
  return found;
}

function notOneOf(what: string | undefined, value: string | undefined, choices: string | undefined): string {
  return `${what ?? ''} ${value ?? ''}: must be one of ${choices ?? ''}`;
}

/** The long one of `-o, --options <list>`. */
function flagOf(option: string | undefined): string {
  return /--[^ ]+/.exec(option ?? '')?.[0] ?? option ?? '';
}
