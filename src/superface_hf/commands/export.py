"""``superface export``: a student or an audio-to-lip model -> an ONNX file, or a folder that runs without torch."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from .output import add_json_option, print_result

EPILOG = """examples:
  superface export alice-student -o alice.onnx
  superface export org/superface-student-alice -o alice.onnx --precision fp16
  superface export audio_to_lip -o lips.onnx --precision int8
  superface export alice-student --runtime onnx -o alice-onnx      (then: superface-player alice-onnx speech.wav -o out.mp4)
  superface export alice-student --runtime web -o alice-web        (then: python -m http.server -d alice-web)

Beside alice.onnx comes alice.json, which says what a runtime must know: sizes, rates, where the crop lies in the full picture,
the licence. The same is in the ONNX file, under "superface".
"""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="a student or an audio-to-lip model -> an ONNX file, or a folder that runs without torch",
        description="Writes an ONNX file, after running it with onnxruntime and comparing what it gives with torch. With "
        "--runtime: a folder with all that lets a student speak without torch, in Python or in a browser. Needs the extra "
        "[export].",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model",
        metavar="FOLDER_OR_MODEL",
        help="the folder or Hub id of a student or an audio-to-lip model, or an embedded one: student, audio_to_lip",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="PATH",
        help="FILE.onnx, or a folder for --runtime; replaced if it is there",
    )
    parser.add_argument(
        "--runtime",
        choices=("onnx", "web"),
        help="write a folder: for superface-player (numpy and onnxruntime), or for browsers and any static server",
    )
    parser.add_argument(
        "--audio-to-lip",
        default="audio_to_lip",
        metavar="FOLDER_OR_MODEL",
        help="with --runtime: the audio-to-lip model that hears for the student (default: the embedded one)",
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "int8"),
        help="how weights are stored: fewer bits make the file smaller, not faster (default: fp32, for browsers fp16)",
    )
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ..export import export_folder, export_onnx
    from ..export.loading import load_exportable

    model = load_exportable(options.model)
    precision: Any = options.precision or ("fp16" if options.runtime == "web" else "fp32")
    report: Any
    if options.runtime is None:
        report = export_onnx(model, options.output, precision)
    else:
        hears = load_exportable(options.audio_to_lip)
        report = export_folder(model, hears, options.output, options.runtime, precision)
    print_result(options, report, **asdict(report))
