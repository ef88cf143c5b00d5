"""``superface train MODEL``: settings + a prepared set -> a trained model."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from ..errors import SuperFaceError, install_command
from ..training.models import TRAINABLE, Trainable, load
from .output import add_json_option, print_result

EPILOG = """examples:
  superface train teacher --config configs/teacher_base.yaml --prepared .cache/prepared --out runs/teacher
  superface train teacher --config configs/teacher_base.yaml --set schedule.steps=1000 --set loss.temporal=0
  superface train teacher --config runs/teacher/checkpoint/config.yaml --print
  superface train audio-to-lip --config configs/audio_to_lip.yaml --set data=footage/ --out runs/lip
  torchrun --nproc_per_node 8 -m superface_hf.cli train teacher --config configs/teacher_large.yaml

Training continues from the newest checkpoint in its folder. Settings that --config does not name keep their defaults.
"""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("train", help="settings + prepared videos -> a model", description="Trains a model.")
    models = parser.add_subparsers(title="models", required=True, metavar="MODEL")
    for name, model in TRAINABLE.items():
        one = models.add_parser(
            name,
            help=model.about,
            description=f"Trains {model.about}. Needs the extra [train].",
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        file = f"{name.replace('-', '_')}{'_base' if name == 'teacher' else ''}.yaml"
        one.add_argument("--config", type=Path, help=f"YAML settings (default: those of configs/{file})")
        one.add_argument(
            "--set", dest="changes", action="append", default=[], metavar="KEY=VALUE",
            help="change a setting, such as seed=1; may be repeated",
        )  # fmt: skip
        one.add_argument("--out", help=f"folder for checkpoints and logs ({model.out})")
        if model.prepared:
            one.add_argument("--prepared", help=f"a prepared or packed set ({model.prepared})")
        if model.stops:
            one.add_argument(
                "--until", type=int, metavar="STEP", help="stop after this step; a later run continues from there"
            )
        one.add_argument("--print", action="store_true", help="print all settings as YAML instead of training")
        add_json_option(one)
        one.set_defaults(run=run, model=name)


def run(options: argparse.Namespace) -> None:
    model = TRAINABLE[options.model]
    try:
        from ..utils.settings import as_yaml, load_settings

        config = load_settings(load(model.settings), options.config, options.changes, _named(model, options))
        if options.print:
            print(as_yaml(config), end="")
            return
        train = load(model.train)
    except ImportError as error:
        raise SuperFaceError(f"Training needs the extra [train]: {install_command('train')} ({error}).") from error
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    made = train(config, until=options.until) if model.stops else train(config)
    if made is not None:
        print_result(options, made, model=made)


def _named(model: Trainable, options: argparse.Namespace) -> dict[str, str]:
    """Return the settings that were given by their own options (``--out``, ``--prepared``)."""
    named = {model.out: options.out}
    if model.prepared:
        named[model.prepared] = options.prepared
    return {key: value for key, value in named.items() if value is not None}
