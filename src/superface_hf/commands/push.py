"""``superface push``: a checkpoint -> the Hugging Face Hub."""

from __future__ import annotations

import argparse
from typing import Any

from .output import add_json_option, print_result


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "push",
        help="a checkpoint -> the Hugging Face Hub",
        description="Pushes a saved checkpoint: weights, settings, and its model card (the README.md beside it, completed, or "
        "one from a template).",
    )
    parser.add_argument(
        "checkpoint",
        metavar="FOLDER_OR_MODEL",
        help="the folder of a checkpoint, or an embedded one: teacher, student, audio_to_lip, tracker, sync_expert, lip_reader",
    )
    parser.add_argument("repo", metavar="ORG/NAME", help="the repository; it is made if it does not exist")
    parser.add_argument(
        "--private", action="store_true", default=None, help="only its members see it (default: the organization's)"
    )
    parser.add_argument("--token", help="a token that may write (default: HF_TOKEN, or the login of this machine)")
    parser.add_argument(
        "--revision", metavar="BRANCH", help="the branch to push to; made if it does not exist (default: main)"
    )
    parser.add_argument("--message", help="message of the commit")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ..hub import push_checkpoint

    commit = push_checkpoint(
        options.checkpoint,
        options.repo,
        private=options.private,
        token=options.token,
        revision=options.revision,
        commit_message=options.message,
    )
    print_result(options, commit.commit_url, repo=options.repo, commit=commit.oid, url=commit.commit_url)
