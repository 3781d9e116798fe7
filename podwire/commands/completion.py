"""`podwire completion`: a script for the shell, made from the very parsers that verbs use."""

import argparse
from collections.abc import Mapping

from podwire.commands.output import say

EPILOG = """\
examples:
  source <(podwire completion bash)            in ~/.bashrc
  source <(podwire completion zsh)             in ~/.zshrc, after compinit
  podwire completion fish > ~/.config/fish/completions/podwire.fish
"""

_BASH = """\
_podwire() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" verb="" i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "${{COMP_WORDS[i]}}" in
            --name|--context|--kubeconfig) ((i++)) ;;
            --) return ;;
            -*) ;;
            *) verb="${{COMP_WORDS[i]}}"; break ;;
        esac
    done
    case "${{COMP_WORDS[COMP_CWORD - 1]}}" in
        --name) COMPREPLY=($(compgen -W "$(podwire ls -o name 2>/dev/null)" -- "$word")); return ;;
        -f|--filename|--config|--kubeconfig|-w|--write)
            COMPREPLY=($(compgen -f -- "$word")); return ;;
    esac
    case "$verb" in
        "") COMPREPLY=($(compgen -W "{verbs}" -- "$word")) ;;
{cases}
    esac
}}
complete -o filenames -F _podwire podwire
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(args: argparse.Namespace) -> int:
    """Print it."""
    from podwire.cli import VERBS, parser_of  # noqa: PLC0415 - cli loads this module by name

    words = {verb: _words(parser_of(verb)) for verb in VERBS}
    say(_SCRIPTS[args.shell](words, VERBS).rstrip())
    return 0


def _words(parser: argparse.ArgumentParser) -> list[str]:
    words = list[str]()
    for action in parser._actions:
        words += action.option_strings
        if not action.option_strings and action.choices:
            words += map(str, action.choices)
    return words


def _bash(words: Mapping[str, list[str]], summaries: Mapping[str, str]) -> str:
    cases = "\n".join(
        f'        {verb}) COMPREPLY=($(compgen -W "{" ".join(options)}" -- "$word")) ;;'
        for verb, options in words.items()
    )
    return _BASH.format(verbs=" ".join(summaries), cases=cases)


def _zsh(words: Mapping[str, list[str]], summaries: Mapping[str, str]) -> str:
    # zsh runs bash's functions; the script stays one, and so does its behaviour.
    return "autoload -U +X bashcompinit && bashcompinit\n" + _bash(words, summaries)


def _fish(words: Mapping[str, list[str]], summaries: Mapping[str, str]) -> str:
    lines = ["complete -c podwire -f"]
    for verb, summary in summaries.items():
        text = summary.replace("'", "\\'")
        lines.append(f"complete -c podwire -n __fish_use_subcommand -a {verb} -d '{text}'")
        for word in words[verb]:
            seen = f"complete -c podwire -n '__fish_seen_subcommand_from {verb}'"
            if word.startswith("--"):
                lines.append(f"{seen} -l {word[2:]}")
            elif word.startswith("-"):
                lines.append(f"{seen} -s {word[1:]}")
            else:
                lines.append(f"{seen} -a {word}")
    lines.append("complete -c podwire -l name -x -a '(podwire ls -o name 2>/dev/null)'")
    return "\n".join(lines)


_SCRIPTS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
