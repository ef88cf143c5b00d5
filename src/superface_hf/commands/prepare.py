"""``superface prepare``: raw videos and portraits -> a tracked, cropped, filtered training set."""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path
from typing import Any

from ..utils.device import AUTO, DEVICE_HELP, choose_device
from .output import add_json_option, print_result

EPILOG = """examples:
  superface prepare VoxCeleb2/dev/mp4 -o sets/voxceleb --workers 8
  superface prepare HDTF --table hdtf.csv -o sets/hdtf --labels mediapipe --landmarker face_landmarker.task
  superface prepare someone/talking-heads --split train --person-column speaker -o sets/heads
  superface prepare 'shards/*.tar' --column mp4 -o sets/mine --set filters.min_face_pixels=160
  superface prepare clips --portraits portraits.parquet -o sets/mine --set filters.min_sync_confidence=0.1

The set is a folder of parquet shards (train-*, val-*, portraits-*) that datasets.load_dataset opens, and manifest.json,
which says of every raw video what was kept, and which filter dropped the rest with what value. A run that was stopped goes
on when it is started again.
"""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "prepare",
        help="raw videos -> a training set",
        description="Finds shots and faces in raw videos, tracks and crops them, leaves out what is not worth training on, "
        "and writes a set that the trainers read.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        nargs="?",
        help="a folder of videos; or a dataset with a video column: its id on the Hub, or .parquet or .tar files",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="the folder of the set")
    parser.add_argument(
        "--table",
        type=Path,
        help="CSV about the folder's videos: clip (path), and if known split (train, val), person, repo, path, licence; "
        "without it the first folder below the source is the person, and people are split by chance",
    )
    parser.add_argument(
        "--portraits",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="still pictures: a parquet file with a column `image`, or a folder; may be repeated",
    )
    parser.add_argument(
        "--labels",
        choices=("tracker", "mediapipe"),
        default="tracker",
        help="source of the landmarks: the embedded tracker (default), or MediaPipe, which gives blendshapes too",
    )
    parser.add_argument("--landmarker", type=Path, metavar="FILE", help="MediaPipe's face_landmarker.task")
    parser.add_argument("--split", default="train", help="split of the dataset to read (default: train)")
    parser.add_argument("--column", help="column of the dataset with the videos, if its type does not tell")
    parser.add_argument("--person-column", help="column of the dataset that says who is seen")
    parser.add_argument("--config", type=Path, help="YAML file of settings, filters among them")
    parser.add_argument(
        "--set",
        dest="changes",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting, such as filters.min_sharpness=30; may be repeated",
    )
    parser.add_argument("--show-settings", action="store_true", help="print the settings as YAML, and do nothing")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--device", default=AUTO, help=f"of the tracker: {DEVICE_HELP}")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ..errors import SuperFaceError, install_command

    try:
        from ..data.prepare.labels import LabelSource
        from ..data.prepare.portraits import picture_chunks
        from ..data.prepare.prepare import prepare
        from ..data.prepare.settings import PrepareSettings
        from ..data.prepare.sources import videos_of
        from ..utils.settings import as_yaml, load_settings
    except ImportError as error:
        raise SuperFaceError(f"`superface prepare` needs {error.name}: {install_command('train')}.") from error

    settings = load_settings(PrepareSettings, options.config, options.changes)
    if options.show_settings:
        print(as_yaml(settings), end="")
        return
    if options.source is None and not options.portraits:
        raise SuperFaceError("There is nothing to prepare: name a folder or dataset of videos, or --portraits.")
    labels = LabelSource(options.labels, options.landmarker, choose_device(options.device))
    pieces: list[Any] = [chunk for path in options.portraits for chunk in picture_chunks(path)]
    videos: Any = []
    if options.source is not None:
        videos = videos_of(
            options.source, options.table, settings.val_share, options.split, options.column, options.person_column
        )
        if Path(options.source).is_dir():
            videos = list(videos)
    total = len(videos) + len(pieces) if isinstance(videos, list) else None
    source, everything = options.source or "", chain(videos, pieces)
    manifest = prepare(options.out, everything, settings, labels, source, options.workers, total)
    counts = manifest["counts"]
    clips = ", ".join(f"{number} {split}" for split, number in counts.get("clips", {}).items())
    videos_read, portraits = counts.get("raw_videos", 0), counts.get("pictures", 0)
    lines = [f"{options.out}: {clips} clips of {videos_read} videos, {portraits} portraits"]
    lines += [f"  dropped for {name}: {number}" for name, number in counts.get("dropped", {}).items()]
    if counts.get("unreadable"):
        lines.append(f"  unreadable: {counts['unreadable']} (see manifest.json)")
    print_result(options, "\n".join(lines), out=options.out, **counts)
