"""Writes docs/reference/ from the docstrings: ``python docs/build_reference.py``; with ``--check`` it only compares.

What a page holds is listed in ``PAGES``: everything of ``superface_hf.__all__``, and what else the guides use.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "reference"
ABOUT = "<!-- Written by docs/build_reference.py from the docstrings: change those, and run it again. -->"
SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises)\b(.*):$")
ENTRY = re.compile(r"(\*{0,2}[A-Za-z_]\w*(?:, \*{0,2}[A-Za-z_]\w*)*): (.*)")
CALLED = {"__call__"}  # shown although their names begin with an underscore
LEFT_OUT = {"validate_architecture"}  # called by transformers
WIDTH = 100


@dataclasses.dataclass(frozen=True)
class Page:
    """A page of the reference: its title, a sentence, and where its names come from: "module: name name ..."."""

    title: str
    about: str
    names: tuple[str, ...]


PAGES = {
    "pipeline": Page("The pipeline", "What `pipeline(\"talking-face\")` makes, and what it returns.", (
        "superface_hf: TalkingFacePipeline TalkingFaceClip",
        "superface_hf.pipelines.request: Request",)),
    "motion": Page("Motion", "What lies between drivers and renderers.", (
        "superface_hf: Motion bundled_motion",)),
    "models": Page("Models", "All of them load and save as every model of transformers does.", (
        "superface_hf: SuperFaceTeacherModel SuperFaceTeacherConfig SuperFaceStudentModel SuperFaceStudentConfig",
        "superface_hf: SuperFaceAudioToLipModel SuperFaceAudioToLipConfig SuperFaceAudioToLipFeatureExtractor",
        "superface_hf: SuperFaceTrackerModel SuperFaceTrackerConfig SuperFaceSyncExpertModel SuperFaceSyncExpertConfig",
        "superface_hf: SuperFaceLipReaderModel SuperFaceLipReaderConfig",
        "superface_hf.models.lip_reader: mouths_of mouth_pictures",
        "superface_hf: SuperFaceMatteModel SuperFaceMatteConfig SuperFaceInpainterModel SuperFaceInpainterConfig",
        "superface_hf.models.teacher.modeling_teacher: PreparedSource TeacherOutput",
        "superface_hf.models.student.modeling_student: PreparedStudent StudentOutput",
        "superface_hf.hub.model: HubMixin",)),
    "made_up_faces": Page("Made-up faces", "Speech alone -> a portrait, and a talking face, as pipelines of diffusers.", (
        "superface_hf: SpeechToPortraitPipeline SpeechToMotionPipeline SpeechToTalkingFacePipeline FaceSpace PortraitDenoiser",
        "superface_hf: CodebookRestorer",
        "superface_hf.models.restorer.face_region: restore_face",
        "superface_hf: SuperFaceVoiceEncoderModel SuperFaceVoiceEncoderConfig",
        "superface_hf.pipelines.speech_to_portrait: SpeechToPortraitOutput PortraitHearing",
        "superface_hf.models.face_space.prior: Group",)),
    "layers": Page("Layers", "A portrait's layers: the person, cut out, and the plate behind.", (
        "superface_hf.layers.matting: cut_out_person foreground_colours",
        "superface_hf.layers.plate: make_plate hole_behind",)),
    "face_model": Page("Face model", "The linear face model over the 478-point mesh.", (
        "superface_hf: FaceModel FaceShape",)),
    "drivers": Page("Drivers", "Anything -> `Motion`.", (
        "superface_hf.drivers.base: Driver Piece",
        "superface_hf.drivers.combine: WithMouth",
        "superface_hf.drivers.watching: watch_video",
        "superface_hf.drivers.video: video_to_motion follow_motion DrivenMotion",
        "superface_hf.drivers.audio: speech_to_motion follow_speech",
        "superface_hf.drivers.text: text_to_sound",
        "superface_hf.drivers.idle: IdleMotion",)),
    "renderers": Page("Renderers", "A portrait and landmarks -> frames.", (
        "superface_hf.renderers.base: Renderer ReadyPortrait CropRenderer",)),
    "media": Page("Pictures, video and sound", "In from anything people have, out as PNG, JPEG and mp4.", (
        "superface_hf.media: load_picture save_picture VideoReader SoundReader Sound load_sound Mp4Writer "
        "write_mp4 WorkLimit Work",)),
    "hub": Page("Hub and embedded weights", "Checkpoints that come with the package, and the way to the Hub and back.", (
        "superface_hf.hub: weights_folder push_checkpoint",
        "superface_hf.models.embedded: embedded_tracker embedded_audio_to_lip load_audio_to_lip",
        "superface_hf.models.embedded: embedded_matte embedded_inpainter load_restorer",
        "superface_hf.hub: CardFacts make_card",)),
    "provenance": Page(
        "Marks of generated files",
        "What a file says about where it comes from.",
        ("superface_hf: inspect_file Provenance", "superface_hf.provenance.credentials: ContentCredentials"),
    ),
    "export": Page(
        "Export to ONNX",
        "For runtimes without torch. Needs the extra `[export]`.",
        ("superface_hf.export: export_onnx ExportReport export_folder FolderReport", "superface_hf.player: StudentPlayer"),
    ),
    "space": Page(
        "The web demo",
        "What `superface serve` starts. Needs the extra `[space]`.",
        ("superface_hf.space: build launch Limits Studio",),
    ),
    "training": Page("Settings", "What the YAML files and `--set` of `superface prepare`, `train` and `distill` can change.", (
        "superface_hf.data.prepare.settings: PrepareSettings",
        "superface_hf.data.prepare.quality_filters: QualityThresholds",
        "superface_hf.training.teacher.config: TeacherTrainingConfig ModelSettings DataSettings LossWeights",
        "superface_hf.training.teacher.config: OptimizerSettings ScheduleSettings RunSettings",
        "superface_hf.data.pairs.drawing: PairSampling",
        "superface_hf.data.pairs.masking: MaskingConfig",
        "superface_hf.data.degradations: DegradationConfig",
        "superface_hf.training.student.config: DistillationConfig StudentLossWeights",)),
    "batch": Page("Batches", "A table of jobs, and a live face.", (
        "superface_hf.batch: run_batch BatchReport RenderRow",
        "superface_hf.integrations: LiveFace LiveSession LivePart",)),
    "errors": Page("Errors", "Everything that is raised on bad input.", (
        "superface_hf: SuperFaceError HubError MediaError MotionError NoFaceError ProvenanceError SeveralFacesError",
        "superface_hf: UnknownNameError",)),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if a page is not up to date")
    check = parser.parse_args().check
    pages = dict(written_pages())
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    stale += [path for path in FOLDER.glob("*.md") if path not in pages]
    if check:
        for path in stale:
            print(f"{path} is not up to date: run python docs/build_reference.py")
        return int(bool(stale))
    FOLDER.mkdir(exist_ok=True)
    for path in stale:
        if path in pages:
            path.write_text(pages[path], encoding="utf-8")
        else:
            path.unlink()
        print(path)
    return 0


def written_pages() -> Iterator[tuple[Path, str]]:
    """Every page of the folder, and its text."""
    index = [ABOUT, "# API reference", "Written from the docstrings.", "| | |\n|---|---|"]
    for name, page in PAGES.items():
        things = [(word, getattr(import_module(module), word)) for module, word in words(page.names)]
        parts = [ABOUT, f"# {page.title}", page.about]
        for word, thing in things:
            parts += described(word, thing, 2)
        yield FOLDER / f"{name}.md", "\n\n".join(parts) + "\n"
        index[-1] += f"\n| [{page.title}]({name}.md) | {', '.join(f'`{word}`' for word, _ in things)} |"
    index[-1] += "\n| [The command](command.md) | `superface` and its subcommands |"
    yield FOLDER / "README.md", "\n\n".join(index) + "\n"
    yield FOLDER / "command.md", "\n\n".join(command_page()) + "\n"


def words(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in names:
        module, _, listed = line.partition(": ")
        yield from ((module, word) for word in listed.split())


# Things -> Markdown.


def described(name: str, thing: Any, level: int) -> Iterator[str]:
    """A class with its documented public members, or a function."""
    yield f"{'#' * level} {name}"
    if not inspect.isclass(thing):
        yield code(signature(name, thing))
        yield from docstring(thing)
        return
    yield code(class_head(name, thing))
    yield from docstring(thing)
    for member, value in vars(thing).items():
        kind, function = unwrapped(value)
        ours = getattr(function, "__module__", "").startswith("superface_hf") and function.__doc__
        if ours and (not member.startswith("_") or member in CALLED) and member not in LEFT_OUT:
            yield f"{'#' * (level + 1)} {name}.{member}"
            yield code(kind + signature(member, function))
            yield from docstring(function)


def unwrapped(member: Any) -> tuple[str, Any]:
    """A member's decorator, as a line of code, and its function (None where it has none)."""
    if isinstance(member, (classmethod, staticmethod)):
        return f"@{type(member).__name__}\n", member.__func__
    if isinstance(member, (property, cached_property)):
        return "@property\n", member.fget if isinstance(member, property) else member.func
    return "", member if inspect.isfunction(member) else None


def class_head(name: str, thing: type) -> str:
    """What a class is made with: the fields of a dataclass with their defaults, or the arguments of its constructor."""
    parents = ", ".join(base.__name__ for base in thing.__bases__ if base is not object)
    head = f"class {name}({parents}):" if parents else f"class {name}:"
    if dataclasses.is_dataclass(thing):
        return "\n    ".join([head, *(fields_of(thing) or ["..."])])
    if "__init__" in vars(thing) and not getattr(thing, "_is_protocol", False):
        return f"{head}\n    {signature('__init__', vars(thing)['__init__'], 4)}"
    return f"{head} ..."


def fields_of(thing: type) -> list[str]:
    """``name: type = default`` of a dataclass's own fields; what a factory makes is named by its class."""
    own, lines = inspect.get_annotations(thing), []
    for field in dataclasses.fields(thing):  # type: ignore[arg-type]
        if field.name.startswith("_") or field.name not in own:
            continue
        default = "" if field.default is dataclasses.MISSING else f" = {field.default!r}"
        if field.default_factory is not dataclasses.MISSING:
            made = field.default_factory()
            default = f" = {made}" if isinstance(made, (dict, list, tuple)) else f" = {type(made).__name__}(...)"
        lines.append(f"{field.name}: {own[field.name]}{default}")
    return lines


def signature(name: str, function: Any, indent: int = 0) -> str:
    """``def name(...) -> ...: ...``, one argument a line if it is long."""
    called = inspect.signature(function)
    pieces: list[str] = []
    for parameter in called.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not any(piece.startswith("*") for piece in pieces):
            pieces.append("*")
        prefix = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        kind = "" if parameter.annotation is parameter.empty else f": {parameter.annotation}"
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        pieces.append(f"{prefix}{parameter.name}{kind}{default}")
    result = "" if called.return_annotation is called.empty else f" -> {called.return_annotation}"
    line = f"def {name}({', '.join(pieces)}){result}: ..."
    if indent + len(line) <= WIDTH:
        return line
    inner = "".join(f"{' ' * (indent + 4)}{piece},\n" for piece in pieces)
    return f"def {name}(\n{inner}{' ' * indent}){result}: ..."


def code(text: str) -> str:
    """A block of Python, with double quotes as the formatter wants them."""
    text = re.sub(r"'([^'\"]*)'", r'"\1"', text)
    return f"```python\n{text}\n```"


def docstring(thing: Any) -> Iterator[str]:
    """A docstring's paragraphs as Markdown; its sections become lists."""
    text = inspect.cleandoc(thing.__doc__ or "")
    text = re.sub(r":\w+:`~?([^`]+)`", lambda role: f"`{role[1].rpartition('.')[2]}`", text).replace("``", "`")
    lines, inside, out = text.splitlines(), False, []
    for line in lines:
        heading = SECTION.match(line)
        if heading:
            inside = True
            out += ["", f"**{heading[1]}**{heading[2]}", ""]
        elif inside and line[:4] == "    ":
            entry = ENTRY.match(line[4:])
            out.append(f"- `{entry[1]}`: {entry[2]}" if entry else f"  {line.strip()}")
        else:
            inside = inside and not line
            out.append(line)
    paragraphs = re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip()
    if paragraphs:
        yield paragraphs


# The command.


def command_page() -> Iterator[str]:
    """Every subcommand with its options, as the parser knows them."""
    from superface_hf.cli import build_parser

    yield ABOUT
    yield "# The command"
    parser = build_parser()
    yield str(parser.description)
    yield "Exit status 0: done. 1: the input cannot be used, and one line on stderr says why. 2: it was not understood."
    yield from subcommands(parser, "superface")


def subcommands(parser: argparse.ArgumentParser, called: str) -> Iterator[str]:
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        for name, below in action.choices.items():
            nested = any(isinstance(each, argparse._SubParsersAction) for each in below._actions)
            if not nested:
                yield f"## {called} {name}"
                yield str(below.description or "").strip()
                yield option_table(below)
            yield from subcommands(below, f"{called} {name}")


def option_table(parser: argparse.ArgumentParser) -> str:
    rows = ["| | |", "|---|---|"]
    for action in parser._actions:
        if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            continue
        shown = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        if action.option_strings and action.nargs != 0:
            choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else ""
            shown += f" {action.metavar or choices or action.dest.upper()}"
        needed = " *(needed)*" if action.required and action.option_strings else ""
        told = str(action.help or "").replace("%%", "%").replace("|", "\\|")
        rows.append(f"| `{shown}`{needed} | {told} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
