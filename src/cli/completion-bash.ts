// The completion script for bash: tables made from the commands, and a fixed part that walks the words of the line. It does not start pcache. Readline
// splits words at `=` and `:`, so the fixed part joins them first and takes what readline keeps away from the answers.

import type { CommandNode, OptionNode } from './command-tree.js';
import { allNodes, mountOptionChoices, placeOfArgument, placeOfOption, type Place } from './completion-values.js';

export function bashScript(program: CommandNode): string {
  return [HEAD, commandTable(program), optionTable(program), mountOptionTable(), WALK].join('\n');
}

function commandTable(program: CommandNode): string {
  const globals = program.options.flatMap(flagsOf);
  const cases = allNodes(program).map((node) => {
    const own = node.options.flatMap(flagsOf);
    const options = [...new Set([...own, ...globals])].join(' ');
    const places = node.arguments.map((argument) => quote(placeText(placeOfArgument(node, argument)))).join(' ');
    const commands = node.commands.map(({ path }) => path.at(-1)).join(' ');
    // The program's own argument is the name of the command.
    return `    ${quote(node.path.join(' '))}) commands=${quote(commands)} options=${quote(options)} places=(${node.path.length === 0 ? '' : places}) ;;`;
  });
  return `# Sets commands, options and places (one for each argument) of a command.
_pcache_command() {
  case $1 in
${cases.join('\n')}
  esac
}
`;
}

function optionTable(program: CommandNode): string {
  const cases = allNodes(program).flatMap((node) =>
    node.options.flatMap((option) => {
      const place = placeOfOption(option);
      if (place === undefined) return [];
      const patterns = flagsOf(option).map((flag) =>
        node.path.length === 0 ? `*${quote(` ${flag}`)}` : quote([...node.path, flag].join(' ')),
      );
      return `    ${patterns.join(' | ')}) place=${quote(placeText(place))} ;;`;
    }),
  );
  return `# Sets place to what an option of a command takes; to nothing if it takes nothing.
_pcache_option() {
  place=
  case "$1 $2" in
${cases.join('\n')}
  esac
}
`;
}

function mountOptionTable(): string {
  const choices = mountOptionChoices();
  const names = choices.map(({ name, takesValue }) => (takesValue ? `${name}=` : name)).join(' ');
  const cases = choices
    .filter(({ values }) => values.length > 0)
    .map(({ name, values }) => `    ${name}) list=${quote(values.join(' '))} ;;`);
  return `# Sets list to the names of mount options, or to the values of one.
_pcache_mount_option() {
  list=
  case $1 in
    '') list=${quote(names)} ;;
${cases.join('\n')}
  esac
}
`;
}

function flagsOf({ short, long }: OptionNode): string[] {
  return [...(short === undefined ? [] : [short]), long];
}

function placeText({ kind, words }: Place): string {
  return words.length === 0 ? kind : `${kind} ${words.join(' ')}`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

const HEAD = String.raw`# Completion of pcache for bash, made by: pcache completion bash

# Prints where volumes are mounted, a line each.
_pcache_mounts() {
  local point type
  while read -r _ point type _; do
    if [[ $type == fuse.pcache && $point != *'\012'* ]]; then printf '%b\n' "$point"; fi
  done </proc/self/mounts
}

# Prints the names of configurations, a line each.
_pcache_configs() {
  local folder file
  for folder in "${'${'}PCACHE_CONFIG_DIR:-/etc/pcache}" "${'${'}XDG_CONFIG_HOME:-$HOME/.config}/pcache"; do
    for file in "$folder"/*.{yaml,yml,json}; do
      if [[ -e $file ]]; then file=${'${'}file##*/}; printf '%s\n' "${'${'}file%.*}"; fi
    done
  done
}
`;

const WALK = String.raw`# Answers with those words that begin with what is typed.
_pcache_words() {
  local word
  for word in $1; do
    if [[ $word == "$current"* ]]; then COMPREPLY+=("$word"); fi
  done
}

_pcache_mount_points() {
  local point typed=${'${'}current//[\\\'\"]/}
  while IFS= read -r point; do
    if [[ $point == "$typed"* ]]; then COMPREPLY+=("$point"); fi
  done < <(_pcache_mounts)
  compopt -o filenames 2>/dev/null
}

_pcache_files() {
  local file known=$'\n'
  # A mount point is a folder too.
  for file in "${'${'}COMPREPLY[@]}"; do known+=$file$'\n'; done
  while IFS= read -r file; do
    if [[ $known != *$'\n'"$file"$'\n'* ]]; then COMPREPLY+=("$file"); fi
  done < <(compgen -f -- "$current")
  compopt -o filenames 2>/dev/null
}

# A list such as workers=2,transport=io-uring, of which the last item is completed.
_pcache_mount_options() {
  local list word before=${'${'}current%"${'${'}current##*,}"} item=${'${'}current##*,} name=
  if [[ $item == *=* ]]; then name=${'${'}item%%=*}; fi
  _pcache_mount_option "$name"
  for word in $list; do
    if [[ -n $name ]]; then word=$name=$word; fi
    if [[ $word == "$item"* ]]; then COMPREPLY+=("$before$word"); fi
  done
  compopt -o nospace 2>/dev/null
}

_pcache_place() {
  case $1 in
    'words '*) _pcache_words "${'${'}1#words }" ;;
    'words-or-files '*)
      _pcache_words "${'${'}1#words-or-files }"
      _pcache_files
      ;;
    files) compopt -o default 2>/dev/null ;;
    mounts) _pcache_mount_points ;;
    mounts-or-configs)
      _pcache_mount_points
      _pcache_words "$(_pcache_configs)"
      ;;
    mounts-or-files)
      _pcache_mount_points
      _pcache_files
      ;;
    configs) _pcache_words "$(_pcache_configs)" ;;
    configs-or-files)
      _pcache_words "$(_pcache_configs)"
      _pcache_files
      ;;
    mount-options) _pcache_mount_options ;;
  esac
}

_pcache() {
  local words=() word current at path='' count=0 place='' commands options places=()
  COMPREPLY=()
  for ((at = 1; at <= COMP_CWORD; at++)); do
    word=${'${'}COMP_WORDS[at]}
    if [[ ${'${'}#words[@]} -gt 0 && ($word == [=:]* || ${'${'}words[-1]} == *[=:]) ]]; then words[-1]+=$word; else words+=("$word"); fi
  done
  current=${'${'}words[-1]}
  unset 'words[-1]'

  _pcache_command ''
  for word in "${'${'}words[@]}"; do
    if [[ -n $place ]]; then
      place=
    elif [[ $word == -* ]]; then
      # --size=1G has its value already.
      if [[ $word != --*=* ]]; then _pcache_option "$path" "$word"; fi
    elif [[ " $commands " == *" $word "* ]]; then
      path=${'${'}path:+$path }$word
      _pcache_command "$path"
    else
      count=$((count + 1))
    fi
  done

  local option=''
  if [[ -z $place && $current == --*=* ]]; then
    option=${'${'}current%%=*}=
    _pcache_option "$path" "${'${'}current%%=*}"
    current=${'${'}current#*=}
  fi
  if [[ -n $place ]]; then
    _pcache_place "$place"
  elif [[ $current == -* ]]; then
    _pcache_words "$options"
  elif [[ -n $commands ]]; then
    _pcache_words "$commands"
  else
    _pcache_place "${'${'}places[count]-none}"
  fi

  # What readline took for words of their own stands on the line already.
  local char kept='' typed=$option$current
  for char in = :; do
    word=${'${'}typed%"${'${'}typed##*"$char"}"}
    if [[ $COMP_WORDBREAKS == *"$char"* && ${'${'}#word} -gt ${'${'}#kept} ]]; then kept=$word; fi
  done
  for at in "${'${'}!COMPREPLY[@]}"; do
    word=$option${'${'}COMPREPLY[at]}
    COMPREPLY[at]=${'${'}word#"$kept"}
  done
}

complete -F _pcache pcache
`;
