// The completion script for fish: a line for each command, option and argument, with the conditions under which it is offered.

import type { CommandNode, OptionNode } from './command-tree.js';
import { allNodes, mountOptionChoices, placeOfArgument, placeOfOption, type Place } from './completion-values.js';

export function fishScript(program: CommandNode): string {
  const nodes = allNodes(program);
  return [
    HEAD,
    stateFunction(nodes),
    mountOptionFunction(),
    'complete -c pcache -f',
    ...nodes.flatMap(commandLines),
    ...nodes.flatMap(argumentLines),
    ...nodes.flatMap(optionLines),
    '',
  ].join('\n');
}

/** Prints the command, and how many arguments stand behind it. */
function stateFunction(nodes: readonly CommandNode[]): string {
  const paths = nodes.filter(({ path }) => path.length > 0).map(({ path }) => quote(path.join(' ')));
  const taking = nodes.flatMap(({ options }) => options.filter((option) => placeOfOption(option) !== undefined).flatMap(flagsOf));
  return `# Prints the command that the words before the cursor name, and how many arguments follow it.
function __pcache_state
  set -l commands ${paths.join(' ')}
  set -l taking ${[...new Set(taking)].join(' ')}
  set -l path
  set -l count 0
  set -l skip 0
  for word in (commandline -opc)[2..-1]
    if test $skip = 1
      set skip 0
    else if string match -q -- '-*' $word
      contains -- $word $taking; and set skip 1
    else if test $count = 0; and contains -- (string join " " $path $word) $commands
      set path $path $word
    else
      set count (math $count + 1)
    end
  end
  echo "$path/$count"
end

function __pcache_at
  test (__pcache_state) = $argv[1]
end

function __pcache_in
  string match -q -- "$argv[1]/*" (__pcache_state)
end
`;
}

function mountOptionFunction(): string {
  const lines = mountOptionChoices().flatMap(({ name, help, takesValue, values }) => {
    if (values.length > 0) return values.map((value) => `    ${quote(`${name}=${value}`)} ${quote(help)}`);
    return [`    ${quote(takesValue ? `${name}=` : name)} ${quote(help)}`];
  });
  return `# Prints lists whose last item is completed.
function __pcache_mount_options
  set -l before (commandline -ct | string replace -r '[^,]*$' '')
  printf "$before%s\\t%s\\n" \\
${lines.join(' \\\n')}
end
`;
}

function commandLines(node: CommandNode): string[] {
  return node.commands.map(
    ({ path, summary }) =>
      `complete -c pcache -n ${quote(`__pcache_at ${quoteInner(node.path)}`)} -a ${path.at(-1) ?? ''} -d ${quote(summary)}`,
  );
}

function argumentLines(node: CommandNode): string[] {
  if (node.path.length === 0) return [];
  return node.arguments.flatMap((argument, at) => {
    const values = valuesOf(placeOfArgument(node, argument));
    const condition = quote(`__pcache_at ${node.path.length === 1 ? `${node.path[0]!}/${at}` : `"${node.path.join(' ')}/${at}"`}`);
    return values === undefined ? [] : [`complete -c pcache -n ${condition} ${values}`];
  });
}

function optionLines(node: CommandNode): string[] {
  const condition = node.path.length === 0 ? '' : ` -n ${quote(`__pcache_in "${node.path.join(' ')}"`)}`;
  return node.options.map((option) => {
    const place = placeOfOption(option);
    const short = option.short === undefined ? '' : ` -s ${option.short.slice(1)}`;
    const value = place === undefined ? '' : ` ${place.kind === 'none' ? '-x' : `-r ${valuesOf(place) ?? ''}`}`;
    return `complete -c pcache${condition}${short} -l ${option.long.slice(2)}${value} -d ${quote(option.description)}`;
  });
}

/** How a place is said to \`complete\`; undefined if nothing can be offered. */
function valuesOf({ kind, words }: Place): string | undefined {
  switch (kind) {
    case 'none':
      return undefined;
    case 'files':
      return '-F';
    case 'mounts':
      return `-f -a '(__pcache_mounts)'`;
    case 'mounts-or-configs':
      return `-f -a '(__pcache_mounts; __pcache_configs)'`;
    case 'mounts-or-files':
      return `-F -a '(__pcache_mounts_elsewhere)'`;
    case 'configs':
      return `-f -a '(__pcache_configs)'`;
    case 'configs-or-files':
      return `-F -a '(__pcache_configs)'`;
    case 'mount-options':
      return `-f -a '(__pcache_mount_options)'`;
    case 'words':
      return `-f -a ${quote(words.join(' '))}`;
    case 'words-or-files':
      return `-F -a ${quote(words.join(' '))}`;
  }
}

function flagsOf({ short, long }: OptionNode): string[] {
  return [...(short === undefined ? [] : [short]), long];
}

function quoteInner(path: readonly string[]): string {
  return `"${path.join(' ')}/0"`;
}

function quote(text: string): string {
  return `'${text.replaceAll('\\', String.raw`\\`).replaceAll("'", String.raw`\'`)}'`;
}

const HEAD = String.raw`# Completion of pcache for fish, made by: pcache completion fish

# Prints where volumes are mounted, a line each.
function __pcache_mounts
  string match -r '^\S+ \S+ fuse\.pcache ' </proc/self/mounts | while read -l device point rest
    printf '%b\t%s\n' $point volume
  end
end

# Prints those that are not offered as files of the folder that is being typed.
function __pcache_mounts_elsewhere
  set -l folder (commandline -ct | string unescape | string replace -r '[^/]*$' '')
  __pcache_mounts | while read -l line
    set -l point (string split \t -- $line)[1]
    if test -z "$folder"; or test (string replace -r '[^/]*$' '' -- $point) != "$folder"; or not test -e $point
      echo $line
    end
  end
end

# Prints the names of configurations, a line each.
function __pcache_configs
  set -l folders /etc/pcache ~/.config/pcache
  set -q XDG_CONFIG_HOME; and set folders[2] $XDG_CONFIG_HOME/pcache
  set -q PCACHE_CONFIG_DIR; and set folders[1] $PCACHE_CONFIG_DIR
  for file in $folders/*.yaml $folders/*.yml $folders/*.json
    string replace -r '^.*/(.*)\.[a-z]+$' '$1\tconfiguration' $file
  end
end
`;
