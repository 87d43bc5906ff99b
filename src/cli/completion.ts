// `pcache completion`: prints a script that lets a shell complete command lines of pcache. The script is made from the commands themselves.

import { Argument, type Command } from 'commander';
import { addExample, type CommandContext } from './command.js';
import { readCommandTree, type CommandNode } from './command-tree.js';
import { bashScript } from './completion-bash.js';
import { fishScript } from './completion-fish.js';
import { zshScript } from './completion-zsh.js';

type Shell = 'bash' | 'zsh' | 'fish';
const scripts: Record<Shell, (program: CommandNode) => string> = { bash: bashScript, zsh: zshScript, fish: fishScript };

/** `help` is a command to complete too, which takes the name of another. */
function withHelp(program: CommandNode): CommandNode {
  const choices = program.commands.map(({ path }) => path.at(-1) ?? '');
  const command = { name: 'command', description: 'the command to explain', isRequired: false, isVariadic: false, choices };
  const summary = 'show help for a command';
  const help: CommandNode = { path: ['help'], summary, description: summary, arguments: [command], options: [], commands: [], after: '' };
  return { ...program, commands: [...program.commands, help] };
}

export function define(command: Command, { output }: CommandContext): void {
  command
    .addArgument(new Argument('<shell>', 'the shell to make a script for').choices(Object.keys(scripts)))
    .description(
      'Prints a script that completes commands, options, mount options and mounted volumes. The shell reads it when it starts; make it again after an update.',
    )
    .action(async (shell: Shell) => {
      const script = scripts[shell](withHelp(await readCommandTree()));
      output.result({ shell, script }, () => script.trimEnd().split('\n'));
    });
  command.addHelpText(
    'after',
    `
Where it goes:
  bash  ~/.local/share/bash-completion/completions/pcache, or in ~/.bashrc: source <(pcache completion bash)
  zsh   a file _pcache in a folder of fpath, or in ~/.zshrc behind compinit: source <(pcache completion zsh)
  fish  ~/.config/fish/completions/pcache.fish`,
  );
  addExample(command, 'pcache completion bash > ~/.local/share/bash-completion/completions/pcache', 'pcache completion fish | source');
}
