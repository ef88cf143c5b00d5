"""A reader who tries everything that a page shows, in a folder that holds the files it names.

Blocks of Python run in order in one namespace, those of a shell command by command. What a reader has and the tests do not
is made small or stood in for, here and nowhere else:

* the files: the bundled portrait and pieces of the bundled speech, videos of eight frames, footage of a second;
* the teacher: a small untrained one, but on the pages in ``WITH_REAL_WEIGHTS``;
* trainings: ``FEWER`` appends settings that end them after a few steps;
* models that would be downloaded: for text-to-speech a tone, for text classification joy, each of the same form;
* the Hub: a server on localhost (the pages in ``ON_THE_HUB``, which run in a process of their own for it);
* the port of the web demo: one that is free;
* a Ray cluster: `superface batch` renders here (tests/e2e/test_batch.py has a real one);
* the browser before the voice agent: an aiortc peer, which asks something and waits for the answer.

``pip``, ``make`` and the benchmarks are not run; what they name must exist, and benchmarks must know the options.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import sys
import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
WITH_REAL_WEIGHTS = {"docs/quickstart.md"}
# Pages whose code needs more than the package's usual extras.
NEEDS = {
    "docs/how-to/voice-agents.md": ("pipecat", "aiortc", "livekit.agents"),
    "docs/how-to/batch.md": ("datasets",),
}
ON_THE_HUB = {
    "README.md",
    "docs/how-to/deploy-the-space.md",
    "docs/how-to/distill-a-student.md",
    "docs/how-to/train.md",
}
DEMO = "http://127.0.0.1:7860"
LAUNCHERS = ("torchrun", "accelerate")
# Settings appended to a command, so that it ends soon and finds enough in little.
FEWER = {
    "prepare": ["filters.min_face_pixels=30", "filters.min_turn_range=0", "filters.min_sharpness=1"],
    "train teacher": [
        "model.size=tiny", "schedule.steps=2", "schedule.warmup=1", "schedule.decay=1", "data.workers=0",
        "data.sampling.image_size=128", "data.sampling.stills=0", "loss.perceptual=0", "loss.keypoints=0",
        "run.batch_size=2", "run.mixed_precision=no", "run.compile=false", "run.validate_every=0", "run.trackers=[]",
    ],
    "distill": [
        "max_steps=4", "frames=32", "held_out=4", "batch_size=2", "loss.perceptual=0", "loss.real=0",
        "student.prior_points=40", "student.appearance_channels=4", "student.motion_channels=[8,8,8]",
        "student.generator_channels=8", "student.window_channels=8", "student.code_channels=8",
    ],
}  # fmt: skip
LESS = {
    "batch": ["--engine", "local"],
    "evaluate": ["--clips", "1", "--frames", "2", "--window", "3", "--protocols", "self", "--portraits", "1"],
}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its first line's number, and its text."""

    page: str
    language: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """README.md, CONTRIBUTING.md and all of docs/."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def name_of(page: Path) -> str:
    """Its path in the repository."""
    return page.relative_to(ROOT).as_posix() if ROOT in page.parents else page.name


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    language, lines, start = None, [], 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = re.match(r"\s*```(.*)", line)
        if fence and language is None:
            language, lines, start = fence[1].strip(), [], number + 1
        elif fence:
            found.append(Block(name_of(page), str(language), start, "\n".join(lines) + "\n"))
            language = None
        else:
            lines.append(line)
    assert language is None, f"{page}: a block is not closed"
    return found


def commands_of(block: Block) -> Iterator[list[str]]:
    """The words of each command, with variables filled in; comments are left out."""
    for line in re.sub(r"\\\n\s*", " ", block.text).splitlines():
        words = shlex.split(os.path.expandvars(line), comments=True)
        if words:
            yield words


# What a reader has.


def make_files(folder: Path) -> Path:
    """The files that the examples name."""
    from superface_hf import bundled_motion
    from superface_hf.media import load_picture, load_sound, write_mp4
    from superface_hf.utils.assets import PORTRAIT, SPEECH

    whole = Image.fromarray(load_picture(PORTRAIT))
    photo = whole.crop((76, 0, 376, 300))
    for name in ("photo.jpg", "alice.jpg"):
        photo.save(folder / name, quality=95)
    both = Image.new("RGB", (500, 300))
    both.paste(photo, (0, 0))
    both.paste(photo.resize((200, 200)), (300, 60))
    both.save(folder / "group.jpg", quality=95)
    slope = np.linspace(0, 255, 64, dtype=np.uint8)
    Image.fromarray(np.broadcast_to(slope[:, None, None], (64, 64, 3)).copy()).save(folder / "landscape.jpg")
    speech = load_sound(SPEECH)
    voice = speech.mono()
    for name, second in (("speech.wav", 1.9), ("new.wav", 3.0)):
        write_wav(folder / name, voice[round(second * speech.rate) :][: round(0.2 * speech.rate)], speech.rate)
    for name in ("driving", "head", "talk", "an_hour", "alice"):
        write_mp4(folder / f"{name}.mp4", swaying(whole, 8), 25, voice[: round(0.32 * speech.rate)], speech.rate)
    bundled_motion("speak")[:8].save(folder / "speech.safetensors")
    for person in ("alice", "bob"):
        take = folder / "footage" / person / "take1.mp4"
        take.parent.mkdir(parents=True)
        write_mp4(take, swaying(whole, 26, 7 * (person == "bob")), 25)
    (folder / "jobs.csv").write_text("photo,set\nphoto.jpg,jawOpen=0.4\nphoto.jpg,jawOpen=0.2;eyeBlinkLeft=1\n")
    (folder / "validation/clips").mkdir(parents=True)
    write_mp4(folder / "validation/clips/val_1.mp4", swaying(whole, 8), 25)
    (folder / "portraits").mkdir()
    whole.crop((96, 0, 352, 256)).resize((512, 512)).save(folder / "portraits/one.png")
    for name in ("configs", "spaces", "src"):
        (folder / name).symlink_to(ROOT / name)
    make_student(folder / "alice-student", np.asarray(photo))
    return folder


def make_student(folder: Path, picture: np.ndarray) -> None:
    """An untrained one, of a face where the portrait has hers."""
    from test_student import made_student

    from superface_hf import FaceModel, SuperFaceStudentConfig

    points = (FaceModel.default().mean.numpy() * 60 + np.array([150, 115, 0])).astype(np.float32)
    made_student(SuperFaceStudentConfig.of_size("tiny", person="Alice"), picture, points).save_pretrained(folder)


def swaying(photo: Image.Image, frames: int, start: int = 0) -> np.ndarray:
    """The photograph's head under a moving camera, (T, 240, 240, 3)."""
    places = [(100 + start + step, 2 + step // 2) for step in range(frames)]
    return np.stack([np.asarray(photo.crop((x, y, x + 240, y + 240))) for x, y in places])


def write_wav(path: Path, samples: np.ndarray, rate: int) -> None:
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype(np.int16).tobytes())


def make_weights(folder: Path) -> Path:
    """The embedded weights, but for a small untrained teacher."""
    import torch

    from superface_hf import FaceModel, SuperFaceTeacherConfig, SuperFaceTeacherModel
    from superface_hf.hub import WEIGHTS

    for embedded in WEIGHTS.iterdir():
        if embedded.name != "teacher":
            (folder / embedded.name).symlink_to(embedded)
    torch.manual_seed(0)
    teacher = SuperFaceTeacherModel(SuperFaceTeacherConfig.of_size("tiny"))
    teacher.canonical.copy_(FaceModel.default().mean)
    teacher.save_pretrained(folder / "teacher")
    return folder


# What a reader does.


def try_page(page: Path, files: Path, weights: Path, folder: Path) -> int:
    """Runs every block of a page in a copy of ``files``; says how many there were."""
    shutil.copytree(files, folder, symlinks=True)
    name = name_of(page)
    namespace = types.ModuleType("__main__").__dict__
    blocks = blocks_of(page)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.chdir(folder)
        patch.setenv("SUPERFACE_DATA", "validation")
        patch.setenv("HF_TOKEN", "hf_alice")
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        stand_in(patch, None if name in WITH_REAL_WEIGHTS else weights)
        if any("superface serve" in block.text for block in blocks):
            stack.enter_context(demo_at_a_free_port(patch))
        if any("web.run_app" in block.text for block in blocks):
            patch.setattr("aiohttp.web.run_app", visit)
        if name == "README.md":
            namespace["chunks"] = (
                np.zeros(320, np.float32) for _ in range(10)
            )  # the README leaves these to the reader
        for block in blocks:
            TRY[block.language](block, namespace)
    return len(blocks)


@cache
def loaded_once(name: str, device: object = "cpu") -> object:
    """The embedded model of this name; pages that load it again get the same."""
    from superface_hf.models import embedded

    return getattr(embedded, name)(device)


def stand_in(patch: pytest.MonkeyPatch, weights: Path | None) -> None:
    """Puts the small teacher and the text-to-speech in their places, and cuts bundled motions short."""
    from transformers.pipelines import PIPELINE_REGISTRY

    import superface_hf.hub
    from superface_hf import bundled_motion

    transformers = sys.modules["transformers"]  # it replaces itself while it is imported
    original = transformers.pipeline

    def pipeline(task: str | None = None, *args: object, **kwargs: object) -> object:
        downloaded = {"text-to-speech": tone, "text-classification": lambda text: [{"label": "joy", "score": 0.9}]}
        return downloaded[task] if task in downloaded else original(task, *args, **kwargs)  # type: ignore[call-overload]

    patch.setattr(transformers, "pipeline", pipeline)
    patch.setattr("superface_hf.animation.retargeting.bundled_motion", lambda name: bundled_motion(name)[:10])
    for name in ("embedded_tracker", "embedded_matte", "embedded_inpainter"):
        patch.setattr(f"superface_hf.pipelines.talking_face.{name}", partial(loaded_once, name))
    if weights is not None:
        patch.setattr(superface_hf.hub, "WEIGHTS", weights)
        default = PIPELINE_REGISTRY.supported_tasks["talking-face"]["default"]
        patch.setitem(default, "model", (str(weights / "teacher"), None))


def visit(app: object) -> None:
    """Serves a voice agent, and is its visitor."""
    from agent_visitor import visit

    visit(app)


@contextmanager
def demo_at_a_free_port(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """``superface serve`` serves there and does not wait; it ends with the page."""
    from space_server import free_port

    import superface_hf.space

    original, served = superface_hf.space.launch, []

    def launch(**settings: object) -> None:
        served.append(superface_hf.space.build())
        port = free_port()
        original(served[-1], **{**settings, "server_port": port, "prevent_thread_lock": True, "quiet": True})
        patch.setenv("DEMO", f"http://127.0.0.1:{port}")

    patch.setattr(superface_hf.space, "launch", launch)
    try:
        yield
    finally:
        for demo in served:
            demo.close(verbose=False)


def tone(text: str) -> dict[str, object]:
    """What a text-to-speech pipeline gives, in its form."""
    clock = np.arange(800 * len(text)) / 16000
    return {"audio": 0.2 * np.sin(900 * clock).astype(np.float32)[None], "sampling_rate": 16000}


def try_python(block: Block, namespace: dict[str, object]) -> None:
    text = block.text.replace(DEMO, os.environ.get("DEMO", DEMO))
    source = "\n" * (block.line - 1) + text  # so that a traceback names the page's own lines
    exec(compile(source, str(ROOT / block.page), "exec", dont_inherit=True), namespace)


def try_shell(block: Block, namespace: dict[str, object]) -> None:
    del namespace
    for words in commands_of(block):
        if words[0] in LAUNCHERS:  # test_distributed_training launches; here the one process does what all would
            words = ["superface", *words[words.index("superface_hf.cli") + 1 :]]
        assert words[0] in PROGRAMS, f"{block}: nobody tries {words[0]}"
        PROGRAMS[words[0]](block, words[1:])


def try_superface(block: Block, words: list[str]) -> None:
    from superface_hf import cli

    settings = [
        option
        for setting in (FEWER.get(" ".join(words[:2])) or FEWER.get(words[0], []))
        for option in ("--set", setting)
    ]
    words = [*words, *LESS.get(words[0], []), *settings]
    print("$ superface", shlex.join(words))  # shown where a test fails
    status = cli.main(words)
    assert status == 0, f"{block}: superface {shlex.join(words)} ended with status {status}"
    outputs = [after for option, after in pairwise(words) if option in ("-o", "--output", "--out")]
    for output in outputs if "--show-settings" not in words and "--print" not in words else []:
        assert Path(output).exists(), f"{block}: superface {shlex.join(words)} did not write {output}"


def try_player(block: Block, words: list[str]) -> None:
    from superface_hf.player.command import main

    assert main(words) == 0, f"{block}: superface-player {shlex.join(words)} failed"


def check_javascript(block: Block, namespace: dict[str, object]) -> None:
    """The methods that a page shows are those that are typed; ``test_runtimes`` calls them in a browser."""
    del namespace
    types = (ROOT / "src/superface_hf/export/web/static/superface.d.ts").read_text()
    typed = re.findall(r"^  (?:static )?(\w+)\(", types, re.MULTILINE)
    for name in re.findall(r"\b(?:face|SuperFace)\.(\w+)\(", block.text):
        assert name in typed, f"{block}: SuperFace has no {name}"


def check_pip(block: Block, words: list[str]) -> None:
    """Constraints exist, and so do the extras that are asked for of this package."""
    extras = re.findall(r"^(\w+) = \[", project_section("project.optional-dependencies"), re.MULTILINE)
    assert words[0] == "install", f"{block}: pip {words[0]}"
    for option, value in pairwise(words):
        assert option not in ("-c", "-r") or (ROOT / value).is_file(), f"{block}: there is no {value}"
    named = [word for word in words[1:] if re.match(r"(\.|superface-hf)(\[|$)", word)]
    assert named, f"{block}: installs something else"
    for word in named:
        for extra in re.findall(r"[\w-]+", word.partition("[")[2]):
            assert extra in extras, f"{block}: there is no extra {extra}"


def check_make(block: Block, words: list[str]) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert words, f"{block}: make what?"
    for word in words:
        assert word in targets, f"{block}: there is no make {word}"


def check_script(block: Block, words: list[str]) -> None:
    """A script of the repository knows the options that it is given."""
    script = ROOT / words[0]
    assert script.is_file(), f"{block}: there is no {words[0]}"
    known = re.findall(r"add_argument\(\s*\"(-[\w-]+)\"", script.read_text())
    for word in words[1:]:
        assert not word.startswith("-") or word in known, f"{block}: {words[0]} knows no {word}"


def project_section(name: str) -> str:
    text = (ROOT / "pyproject.toml").read_text()
    return text.partition(f"[{name}]\n")[2].partition("\n[")[0]


def check_yaml(block: Block, namespace: dict[str, object]) -> None:
    """Settings of a teacher's training."""
    from superface_hf.training.teacher.config import TeacherTrainingConfig
    from superface_hf.utils.settings import load_settings

    del namespace
    Path("block.yaml").write_text(block.text)
    load_settings(TeacherTrainingConfig, Path("block.yaml"), [], {})


def check_reference(block: Block) -> None:
    """A signature of the reference: nothing to run, but it must be Python."""
    ast.parse(block.text, f"{block.page}:{block.line}")


TRY = {"python": try_python, "bash": try_shell, "yaml": check_yaml, "js": check_javascript}
PROGRAMS = {
    "superface": try_superface,
    "superface-player": try_player,
    "pip": check_pip,
    "make": check_make,
    "python": check_script,
}


if __name__ == "__main__":  # python tests/docs_reader.py docs/quickstart.md: tries one page, with all that it says
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        places = [Path(temporary) / name for name in ("files", "weights")]
        for place in places:
            place.mkdir()
        make_files(places[0])
        make_weights(places[1])
        print(try_page(Path(sys.argv[1]).resolve(), *places, Path(temporary) / "page"), "blocks")
