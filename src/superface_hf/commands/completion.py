"""``superface completion``: a script that makes a shell complete commands and options."""

from __future__ import annotations

import argparse
from typing import Any

from .fish import fish_script

SHELLS = ("bash", "zsh", "fish", "tcsh")
EPILOG = """examples:
  eval "$(superface completion bash)"                                # in ~/.bashrc
  superface completion zsh > "${fpath[1]}/_superface"                # once, then start a new zsh
  superface completion fish > ~/.config/fish/completions/superface.fish
  superface completion tcsh > ~/.superface.tcsh                      # and `source ~/.superface.tcsh` in ~/.tcshrc
"""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "completion",
        help="make a shell complete commands and options",
        description="Prints a script for a shell, which then completes superface's commands and options at the Tab key.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    if options.shell == "fish":
        print(fish_script(options.whole_parser), end="")
        return
    import shtab

    print(shtab.complete(options.whole_parser, shell=options.shell))
