// The completion script for zsh: a function for each command, which leaves the walking to _arguments. It can be a file `_pcache` of fpath, or sourced.

import type { CommandNode, OptionNode } from './command-tree.js';
import { allNodes, mountOptionChoices, placeOfArgument, placeOfOption, type Place } from './completion-values.js';

export function zshScript(program: CommandNode): string {
  const globals = program.options;
  return [HEAD, mountOptionFunction(), ...allNodes(program).map((node) => functionOf(node, globals)), END].join('\n');
}

function functionOf(node: CommandNode, globals: readonly OptionNode[]): string {
  const own = new Set(node.options.map(({ long }) => long));
  const options = [...node.options, ...(node.path.length === 0 ? [] : globals.filter(({ long }) => !own.has(long)))];
  const specs = options.flatMap(optionSpecs);
  return node.commands.length > 0 ? functionWithCommands(node, specs) : functionWithArguments(node, specs);
}

function functionWithCommands(node: CommandNode, options: readonly string[]): string {
  const commands = node.commands.map(({ path, summary }) => `      ${quote(`${escapeColons(path.at(-1) ?? '')}:${summary}`)}`);
  const cases = node.commands.map(({ path }) => `        ${path.at(-1) ?? ''}) ${nameOf(path)} ;;`);
  return `${nameOf(node.path)}() {
  local curcontext=$curcontext state state_descr line
  typeset -A opt_args
  _arguments -C \\
${options.map((spec) => `    ${spec} \\\n`).join('')}    '1: :->command' '*:: :->arguments'
  case $state in
    command)
      local -a commands=(
${commands.join('\n')}
      )
      _describe command commands
      ;;
    arguments)
      case $line[1] in
${cases.join('\n')}
      esac
      ;;
  esac
}
`;
}

function functionWithArguments(node: CommandNode, options: readonly string[]): string {
  const specs = node.arguments.map((argument, at) => {
    const action = actionOf(placeOfArgument(node, argument));
    const place = argument.isVariadic ? '*' : String(at + 1);
    return quote(`${place}:${argument.isRequired || argument.isVariadic ? '' : ':'}${escapeColons(argument.name)}:${action}`);
  });
  return `${nameOf(node.path)}() {
  _arguments \\
${[...options, ...specs].map((spec) => `    ${spec}`).join(' \\\n')}
}
`;
}

function optionSpecs(option: OptionNode): string[] {
  const place = placeOfOption(option);
  const value = place === undefined ? '' : `:${escapeColons(option.valueName ?? '')}:${actionOf(place)}`;
  const help = `[${option.description.replaceAll(/[[\]\\]/g, String.raw`\$&`)}]`;
  const flags = [...(option.short === undefined ? [] : [option.short]), option.long];
  // What may be given again is not excluded by itself.
  const again = place?.kind === 'mount-options' ? '*' : '';
  return flags.map((flag) => quote(`${again}${flag}${value === '' || !flag.startsWith('--') ? '' : '='}${help}${value}`));
}

function actionOf({ kind, words }: Place): string {
  switch (kind) {
    case 'none':
      return ' ';
    case 'files':
      return '_files';
    case 'mounts':
      return '_pcache_mounts';
    case 'mounts-or-configs':
      return '_pcache_mounts_or_configs';
    case 'mounts-or-files':
      return '_pcache_mounts_or_files';
    case 'configs':
      return '_pcache_configs';
    case 'configs-or-files':
      return '_pcache_configs_or_files';
    case 'mount-options':
      return '_pcache_mount_options';
    case 'words':
      return `(${words.join(' ')})`;
    case 'words-or-files':
      // Behind a space, it is called with these words alone.
      return ` _pcache_words_or_files ${words.join(' ')}`;
  }
}

function mountOptionFunction(): string {
  const specs = mountOptionChoices().map(({ name, help, takesValue, values }) => {
    const value = takesValue ? `:${name}:${values.length === 0 ? ' ' : `(${values.join(' ')})`}` : '';
    return `    ${quote(`${name}[${help.replaceAll(/[[\]\\]/g, String.raw`\$&`)}]${value}`)}`;
  });
  return `_pcache_mount_options() {
  _values -s , 'mount option' \\
${specs.join(' \\\n')}
}
`;
}

function nameOf(path: readonly string[]): string {
  return ['_pcache', ...path].join('_');
}

function escapeColons(text: string): string {
  return text.replaceAll(':', String.raw`\:`);
}

function quote(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

const HEAD = String.raw`#compdef pcache
# Completion of pcache for zsh, made by: pcache completion zsh

# Sets points to where volumes are mounted.
_pcache_points() {
  local device point type rest
  while read -r device point type rest; do
    if [[ $type == fuse.pcache ]]; then points+=("${'${'}(g:o:)point}"); fi
  done </proc/self/mounts
}

_pcache_mounts() {
  local -aU points
  _pcache_points
  _wanted volumes expl 'mounted volume' compadd -a points
}

# Those that are not offered as files of the folder that is being typed.
_pcache_mounts_elsewhere() {
  local point typed=${'${'}(Q)PREFIX}
  local -aU points others
  _pcache_points
  for point in $points; do
    if [[ $typed != */* || ${'${'}point%/*} != "${'${'}typed%/*}" || ! -e $point ]]; then others+=("$point"); fi
  done
  _wanted volumes expl 'mounted volume' compadd -a others
}

_pcache_configs() {
  local -a names
  names=("${'${'}PCACHE_CONFIG_DIR:-/etc/pcache}"/*.(yaml|yml|json)(N:t:r) "${'${'}XDG_CONFIG_HOME:-$HOME/.config}"/pcache/*.(yaml|yml|json)(N:t:r))
  _wanted configurations expl configuration compadd -a names
}

_pcache_configs_or_files() {
  _alternative 'configurations:configuration:_pcache_configs' 'files:cache:_files'
}

_pcache_mounts_or_configs() {
  _alternative 'volumes:mounted volume:_pcache_mounts' 'configurations:configuration:_pcache_configs'
}

_pcache_words_or_files() {
  _alternative "words:word:($*)" 'files:file:_files'
}

_pcache_mounts_or_files() {
  _alternative 'volumes:mounted volume:_pcache_mounts_elsewhere' 'files:cache:_files'
}
`;

const END = `if [[ \${funcstack[1]} == _pcache ]]; then
  _pcache "$@"
else
  compdef _pcache pcache
fi
`;
