"""`podwire completion`: a script for the shell, made from the very parsers that verbs use."""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from podwire.commands import session
from podwire.commands.output import say
from podwire.errors import PodwireError

EPILOG = """\
examples:
  source <(podwire completion bash)            in ~/.bashrc
  source <(podwire completion zsh)             in ~/.zshrc, after compinit
  podwire completion fish > ~/.config/fish/completions/podwire.fish

It completes verbs, options and their values, clusters that run, and pods and nodes of the cluster.
"""

SHELLS = ("bash", "zsh", "fish")
_PLACES = "places"  # what the scripts call

# What a word stands for: a file, a running cluster, a place, one of some words, or who knows.
Kind = Literal["file", "cluster", "place", "words", "free"]


@dataclass(frozen=True, slots=True)
class Word:
    """A thing on the command line of a verb; a flag is an option that *takes_value* not."""

    options: tuple[str, ...]
    kind: Kind
    choices: tuple[str, ...]
    takes_value: bool
    help: str


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("shell", choices=(*SHELLS, _PLACES), metavar="{bash,zsh,fish}")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    if args.shell == _PLACES:
        say("\n".join(_places(args)))
        return 0
    from podwire.cli import VERBS, parser_of  # noqa: PLC0415 - cli loads this module by name

    words = {verb: _words(parser_of(verb)) for verb in VERBS}
    say(_fish(words, VERBS) if args.shell == "fish" else _bash(words, args.shell))
    return 0


def _places(args: argparse.Namespace) -> list[str]:
    """Return the places of the cluster in question; of one that does not answer, none."""
    try:
        with session.connect(args) as connection:
            pods = cast("list[Any]", connection.get("/api/v1/pods").get("items") or [])
            nodes = cast("list[Any]", connection.get("/api/v1/nodes").get("items") or [])
            home = connection.access.namespace
    except PodwireError:
        return []
    metas = [cast("dict[str, Any]", pod["metadata"]) for pod in pods]
    names = [
        meta["name"] if meta["namespace"] == home else f"{meta['namespace']}/{meta['name']}"
        for meta in metas
    ]
    return [*names, *(f"node/{node['metadata']['name']}" for node in nodes), "external", "router"]


def _words(parser: argparse.ArgumentParser) -> list[Word]:
    return [
        Word(
            tuple(action.option_strings),
            _kind(action),
            tuple(map(str, action.choices or ())) if action.metavar is None else SHELLS,
            action.nargs != 0,
            (action.help or "").replace("%%", "%"),
        )
        for action in parser._actions
        if action.help != argparse.SUPPRESS
    ]


def _kind(action: argparse.Action) -> Kind:
    if action.choices:
        return "words"
    if action.metavar in ("FILE", "PATH"):
        return "file"
    if action.metavar in ("PLACE", "FROM", "POD"):
        return "place"
    return "cluster" if "--name" in action.option_strings else "free"


_BASH = """\
_podwire() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD - 1]}}" verb="" i
    local -a shared=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "${{COMP_WORDS[i]}}" in
            --name|--context|--kubeconfig)
                shared+=("${{COMP_WORDS[i]}}" "${{COMP_WORDS[i + 1]}}"); ((i++)) ;;
            --) return ;;
            -*) ;;
            *) [ -n "$verb" ] || verb="${{COMP_WORDS[i]}}" ;;
        esac
    done
    COMPREPLY=()
    case "$verb $before" in
        *" --name") _podwire_words "$(podwire ls -o name 2>/dev/null)"; return ;;
        *" --context") return ;;
        *" --kubeconfig") _podwire_files; return ;;
{values}
    esac
    case "$verb $word" in
        " -"*) _podwire_words "--help --version --name --context --kubeconfig" ;;
        " "*) _podwire_words "{verbs}" ;;
{cases}
    esac
}}
_podwire_words() {{ COMPREPLY=($(compgen -W "$1" -- "$word")); }}
_podwire_files() {{ compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$word")); }}
_podwire_places() {{
    _podwire_words "$(podwire completion places "${{shared[@]}}" 2>/dev/null)"
}}
complete -F _podwire podwire
"""


def _bash(words: Mapping[str, Sequence[Word]], shell: str) -> str:
    shared = ("--name", "--context", "--kubeconfig")
    values, cases = list[str](), list[str]()
    for verb, known in words.items():
        for word in known:
            if word.options and word.takes_value and word.options[-1] not in shared:
                pattern = "|".join(f'"{verb} {option}"' for option in word.options)
                values.append(f"        {pattern}) {_bash_of(word)}; return ;;")
        options = " ".join(option for word in known for option in word.options)
        named = [word for word in known if not word.options and word.kind != "free"]
        cases.append(f'        "{verb} -"*) _podwire_words "{options}" ;;')
        first = _bash_of(named[0]) if named else f'_podwire_words "{options}"'
        cases.append(f'        "{verb} "*) {first} ;;')
    script = _BASH.format(
        values="\n".join(values), cases="\n".join(cases), verbs=" ".join(words)
    ).rstrip()
    # zsh runs bash's functions; the script stays one, and so does its behaviour.
    return "autoload -U +X bashcompinit && bashcompinit\n" + script if shell == "zsh" else script


def _bash_of(word: Word) -> str:
    match word.kind:
        case "file":
            return "_podwire_files"
        case "place":
            return "_podwire_places"
        case "words":
            return f'_podwire_words "{" ".join(word.choices)}"'
        case _:
            return ":"


def _fish(words: Mapping[str, Sequence[Word]], summaries: Mapping[str, str]) -> str:
    lines = ["complete -c podwire -f"]
    for verb, summary in summaries.items():
        lines.append(
            f"complete -c podwire -n __fish_use_subcommand -a {verb} -d {_fish_text(summary)}"
        )
        seen = f"complete -c podwire -n '__fish_seen_subcommand_from {verb}'"
        for word in words[verb]:
            flags = "".join(
                f" -l {option[2:]}" if option.startswith("--") else f" -s {option[1:]}"
                for option in word.options
            )
            values = _fish_of(word) if word.takes_value else ""
            about = f" -d {_fish_text(word.help)}" if word.options else ""
            if flags or values:
                lines.append(f"{seen}{flags}{values}{about}")
    lines.append("complete -c podwire -l name -x -a '(podwire ls -o name 2>/dev/null)'")
    return "\n".join(lines)


def _fish_of(word: Word) -> str:
    if word.kind == "file":
        return " -r -F"
    offered = {
        "words": shlex.quote(" ".join(word.choices)),
        "place": "'(podwire completion places 2>/dev/null)'",
        "cluster": "'(podwire ls -o name 2>/dev/null)'",
    }.get(word.kind, "")
    needed = " -x" if word.options else ""
    return f"{needed} -a {offered}" if offered else needed


def _fish_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
