"""``superface serve``: the web demo, on this machine."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from ..errors import SuperFaceError, install_command
from ..utils.stopping import Stopped


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "serve",
        help="the web demo, in a browser",
        description="Starts the web demo with the embedded weights, offline. Needs the extra [space].",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)"
    )
    parser.add_argument("--port", type=port_number, default=7860, help="port to listen on (default: 7860)")
    parser.add_argument("--open", action="store_true", help="open it in a browser")
    parser.set_defaults(run=run)


def port_number(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: choose a number from 1 to 65535")
    return int(text)


def run(options: argparse.Namespace) -> None:
    try:
        from ..space import launch
    except ImportError as error:
        if error.name and error.name.startswith("superface_hf"):
            raise
        raise SuperFaceError(f"The web demo needs the extra [space]: {install_command('space')} ({error}).") from error
    try:
        launch(server_name=options.host, server_port=options.port, inbrowser=options.open)
    except (Stopped, KeyboardInterrupt) as stop:
        # The visitors' files are gone by now. Models may still be loading, and a process that ends meanwhile is aborted.
        message, status = (str(stop), stop.status) if isinstance(stop, Stopped) else ("stopped", 130)
        print(f"superface: {message}.", file=sys.stderr, flush=True)
        os._exit(status)
    except OSError as error:
        raise SuperFaceError(f"{options.host}:{options.port} cannot be listened on: {error}") from error
