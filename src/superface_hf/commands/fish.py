"""Completion for the fish shell, which shtab does not write."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

PROGRAM = "superface"
FUNCTIONS = f"""# Completion of {PROGRAM} for fish.
function __{PROGRAM}_words
    set -l tokens (commandline -opc)
    set -e tokens[1]
    set -l words
    for token in $tokens
        string match -q -- '-*' $token; or set -a words $token
    end
    echo "$words"
end
function __{PROGRAM}_at
    test "$argv" = (__{PROGRAM}_words)
end
function __{PROGRAM}_after
    string match -q -- "$argv *" (__{PROGRAM}_words)' '
end
"""


def fish_script(parser: argparse.ArgumentParser) -> str:
    """Return a script that completes the commands, options and choices of a parser in fish."""
    return "\n".join([FUNCTIONS, f"complete -c {PROGRAM} -e", *_lines(parser, ())]) + "\n"


def _lines(parser: argparse.ArgumentParser, path: tuple[str, ...]) -> Iterator[str]:
    """Yield the ``complete`` lines of one command, and of those below it; ``path`` are the words that lead to it."""
    for action in parser._actions:
        if action.help == argparse.SUPPRESS:
            continue
        if isinstance(action, argparse._SubParsersAction):
            about = {choice.dest: choice.help for choice in action._choices_actions}
            for name, command in action.choices.items():
                yield _line(path, f"-f -a {_quoted(name)}", about.get(name), exactly=True)
                yield from _lines(command, (*path, name))
        elif action.option_strings:
            yield _line(path, _option(action), _help(parser, action))
        elif action.choices is not None:
            yield _line(path, f"-f -a {_quoted(' '.join(map(str, action.choices)))}", _help(parser, action))


def _line(path: tuple[str, ...], what: str, about: str | None, exactly: bool = False) -> str:
    """Return one ``complete`` line, which applies after the words of ``path`` (``exactly``: after these and no others)."""
    place = "at" if exactly or not path else "after"
    condition = _quoted(" ".join((f"__{PROGRAM}_{place}", *path)))
    description = f" -d {_quoted(about)}" if about else ""
    return f"complete -c {PROGRAM} -n {condition} {what}{description}"


def _option(action: argparse.Action) -> str:
    names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in action.option_strings]
    if action.choices is not None:
        return f"{' '.join(names)} -x -a {_quoted(' '.join(map(str, action.choices)))}"
    return " ".join(names) if action.nargs == 0 else f"{' '.join(names)} -r"


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str | None:
    """Return the help text with its placeholders, such as ``%(default)s``, filled in."""
    return parser._get_formatter()._expand_help(action) if action.help else None


def _quoted(text: str) -> str:
    """Return a text between single quotes, in which fish expands nothing."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
