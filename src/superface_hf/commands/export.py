"""``superface export``: a student or an audio-to-lip model -> an ONNX file for other runtimes."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from .output import add_json_option, print_result

EPILOG = """examples:
  superface export alice-student -o alice.onnx
  superface export org/superface-student-alice -o alice.onnx --precision fp16
  superface export audio_to_lip -o lips.onnx --precision int8

Beside alice.onnx comes alice.json, which says what a runtime must know: sizes, rates, where the crop lies in the full picture,
the licence. The same is in the ONNX file, under "superface".
"""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="a student or an audio-to-lip model -> an ONNX file",
        description="Writes an ONNX file, after running it with onnxruntime and comparing what it gives with torch. Needs the "
        "extra [export].",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model",
        metavar="FOLDER_OR_MODEL",
        help="the folder or Hub id of a student or an audio-to-lip model, or an embedded one: student, audio_to_lip",
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE.onnx", help="replaced if it is there")
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "int8"),
        default="fp32",
        help="how weights are stored: fewer bits make the file smaller, not faster (default: fp32)",
    )
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ..export import export_onnx
    from ..export.loading import load_exportable

    model = load_exportable(options.model)
    report = export_onnx(model, options.output, options.precision)
    print_result(options, report, **asdict(report))
