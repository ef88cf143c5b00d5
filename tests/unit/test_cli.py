"""The ``superface`` command: what it writes, and how it says no."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import wave
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from test_student import made_student
from transformers import pipeline

import superface_hf
from superface_hf import Motion, SuperFaceAudioToLipConfig, SuperFaceAudioToLipModel, SuperFaceStudentConfig, cli
from superface_hf.commands import completion, dub, edit, generate
from superface_hf.commands.output import SILENT, print_result, silence
from superface_hf.media import VideoReader, load_picture, write_mp4
from superface_hf.models.tracker.base import Face


@pytest.fixture
def photo(scene, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(scene).save(path)
    return path


@pytest.fixture
def with_quick_pipe(monkeypatch, quick_pipe):
    """The command with the small teacher and the scripted tracker."""
    for command in (dub, edit, generate):
        monkeypatch.setattr(command, "load_pipeline", lambda options: quick_pipe)
    monkeypatch.setattr("superface_hf.models.embedded.embedded_tracker", lambda device="cpu": quick_pipe.tracker)
    torch.manual_seed(0)
    voice = SuperFaceAudioToLipModel(SuperFaceAudioToLipConfig(hidden_size=16, dilations=[1])).eval()
    monkeypatch.setattr("superface_hf.models.embedded.embedded_audio_to_lip", lambda device="cpu": voice)
    return voice


@pytest.fixture
def speech(tmp_path):
    """A third of a second of noise, as a wav file."""
    path = tmp_path / "speech.wav"
    samples = np.random.default_rng(0).integers(-9000, 9000, 5333).astype(np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())
    return path


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


@pytest.mark.usefixtures("with_quick_pipe")
class TestCommands:
    def test_generate_from_a_video(self, photo, tmp_path, capsys):
        write_mp4(tmp_path / "d.mp4", np.zeros((6, 64, 64, 3), np.uint8), 25)
        assert run("generate", photo, "--video", tmp_path / "d.mp4", "-o", tmp_path / "out.mp4") == 0
        assert len(list(VideoReader(tmp_path / "out.mp4"))) == 6
        assert "out.mp4" in capsys.readouterr().out

    def test_generate_imitates_the_chosen_face_of_a_video(self, photo, tmp_path, monkeypatch, quick_pipe, face_points):
        driver = tmp_path / "two.mp4"
        write_mp4(driver, np.zeros((6, 240, 320, 3), np.uint8), 25)
        seen: dict[str, np.ndarray] = {}
        for face in ("0", "1"):
            # The larger one on the left holds still, the other one goes up and down.
            both = [
                [Face.of(face_points(90, 120, 50), 1.0), Face.of(face_points(240, 110 + 6 * t, 40), 1.0)]
                for t in range(6)
            ]
            own = [[Face.of(face_points(), 1.0)]] if face == "0" else []  # then the photo is remembered
            looks = iter([*own, *both])
            monkeypatch.setattr(quick_pipe.tracker, "find_faces", lambda image, looks=looks: next(looks))
            out = tmp_path / f"{face}.mp4"
            assert run("generate", photo, "--video", driver, "--driving-face", face, "-o", out) == 0
            seen[face] = np.stack(list(VideoReader(out))).astype(int)
        moved = {face: np.abs(frames - frames[0]).mean() for face, frames in seen.items()}
        assert moved["1"] > 3 * moved["0"]

    def test_a_driving_face_that_is_not_there_is_one_line(self, photo, tmp_path, capsys):
        write_mp4(tmp_path / "d.mp4", np.zeros((6, 64, 64, 3), np.uint8), 25)
        out = tmp_path / "out.mp4"
        assert run("generate", photo, "--video", tmp_path / "d.mp4", "--driving-face", "3", "-o", out) == 1
        assert "driving_face=3" in capsys.readouterr().err
        assert not out.exists()

    def test_generate_from_a_motion_with_everything(self, photo, tmp_path):
        Motion.neutral(4, 25).save(tmp_path / "m.safetensors")
        motion, out = tmp_path / "m.safetensors", tmp_path / "out.mp4"
        options = ["--set", "jawOpen=0.4", "--region", f"mouth={motion}", "--absolute", "--fps", "12.5", "--crop"]
        assert run("generate", photo, "--motion", motion, "-o", out, *options, "--face", "0") == 0
        frames = list(VideoReader(out))
        assert len(frames) == 2
        assert frames[0].shape == (128, 128, 3)

    def test_generate_tells_programs_what_it_made(self, photo, tmp_path, capsys):
        Motion.neutral(4, 25).save(tmp_path / "m.safetensors")
        command = ["--quiet", "generate", photo, "--motion", tmp_path / "m.safetensors", "--json"]
        assert run(*command, "-o", tmp_path / "out.mp4") == 0
        told = capsys.readouterr()
        assert json.loads(told.out) == {"output": str(tmp_path / "out.mp4"), "frames": 4, "fps": 25.0}
        assert told.err == ""

    def test_track_writes_a_motion(self, tmp_path, capsys):
        write_mp4(tmp_path / "d.mp4", np.zeros((6, 64, 64, 3), np.uint8), 25)
        assert run("track", tmp_path / "d.mp4", "-o", tmp_path / "m.safetensors") == 0
        assert len(Motion.load(tmp_path / "m.safetensors")) == 6
        assert "6 frames" in capsys.readouterr().out
        assert run("track", tmp_path / "d.mp4", "-o", tmp_path / "m.safetensors", "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert told == {"output": str(tmp_path / "m.safetensors"), "frames": 6, "fps": 25.0, "missing": []}

    @pytest.mark.parametrize("more", [[], ["--no-idle"], ["--motion", "nod"], ["--seed", "4", "--fps", "25"]])
    def test_generate_from_speech(self, photo, speech, tmp_path, more):
        out = tmp_path / "out.mp4"
        assert run("generate", photo, "--audio", speech, "-o", out, *more) == 0
        assert len(list(VideoReader(out))) == 8
        assert VideoReader(out).sound() is not None

    def test_generate_from_speech_and_a_shorter_video(self, photo, speech, tmp_path):
        write_mp4(tmp_path / "d.mp4", np.zeros((5, 64, 64, 3), np.uint8), 25)
        options = ["--video", tmp_path / "d.mp4", "--audio", speech, "-o", tmp_path / "out.mp4"]
        for when_short, frames in (("bounce", 8), ("stop", 5)):
            assert run("generate", photo, *options, "--when-short", when_short) == 0
            assert len(list(VideoReader(tmp_path / "out.mp4"))) == frames

    def test_track_speech_writes_a_motion(self, speech, tmp_path):
        assert run("track", "--audio", speech, "-o", tmp_path / "m.safetensors", "--fps", "30") == 0
        motion = Motion.load(tmp_path / "m.safetensors")
        assert (len(motion), motion.fps) == (10, 30)

    def test_dub_gives_a_video_another_sound(self, speech, tmp_path):
        write_mp4(tmp_path / "talk.mp4", np.full((8, 240, 320, 3), 90, np.uint8), 25)
        assert run("dub", tmp_path / "talk.mp4", "--audio", speech, "-o", tmp_path / "out.mp4") == 0
        assert len(list(VideoReader(tmp_path / "out.mp4"))) == 8
        assert VideoReader(tmp_path / "out.mp4").sound() is not None

    def test_a_time_limit_ends_the_work(self, photo, speech, tmp_path, capsys):
        options = ["--audio", speech, "-o", tmp_path / "out.mp4", "--time-limit"]
        assert run("generate", photo, *options, "0.0001") == 1
        assert "longer than the limit" in capsys.readouterr().err
        assert not (tmp_path / "out.mp4").exists()
        with pytest.raises(SystemExit):
            run("generate", photo, *options, "-3")
        assert "seconds above zero" in capsys.readouterr().err

    def test_generate_with_a_student_before_something_else(self, scene, face_points, tmp_path, monkeypatch):
        student = made_student(SuperFaceStudentConfig.of_size("tiny", person="the scene"), scene, face_points())
        pipe = pipeline("talking-face", model=student, device="cpu")
        monkeypatch.setattr(generate, "load_pipeline", lambda options: pipe)
        Motion.neutral(2, 25).save(tmp_path / "m.safetensors")
        Image.new("RGB", (90, 50), (0, 200, 0)).save(tmp_path / "wall.png")
        command = ["generate", "--model", "student", "--motion", tmp_path / "m.safetensors", "-o"]
        assert run(*command, tmp_path / "out.mp4", "--background", tmp_path / "wall.png") == 0
        corner = next(iter(VideoReader(tmp_path / "out.mp4")))[:20, :20]
        assert np.abs(corner.astype(int) - (0, 200, 0)).max() < 12
        assert run(*command, tmp_path / "frames", "--background", "transparent") == 0
        with Image.open(tmp_path / "frames" / "00001.png") as picture:
            alpha = np.asarray(picture)[..., 3]
        assert alpha[:20, :20].max() == 0
        assert alpha[130, 160] == 255

    def test_edit_writes_a_picture(self, photo, scene, tmp_path):
        assert run("edit", photo, "--set", "jawOpen=0.6", "--set", "eyeBlinkLeft=1", "-o", tmp_path / "out.png") == 0
        assert np.abs(load_picture(tmp_path / "out.png").astype(int) - scene).max() > 5

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["generate", "missing.jpg", "--motion", "nod", "-o", "{out}.mp4"], "missing.jpg"),
            (["generate", "{photo}", "--video", "missing.mp4", "-o", "{out}.mp4"], "missing.mp4"),
            (["generate", "{photo}", "--motion", "nodd", "-o", "{out}.mp4"], "nod"),
            (["generate", "{photo}", "--motion", "nod", "-o", "{out}.avi"], ".mp4"),
            (["generate", "{photo}", "--motion", "nod", "-o", "{out}.mp4", "--set", "jaw=1"], "jaw"),
            (["generate", "{photo}", "--motion", "nod", "-o", "{out}.mp4", "--face", "7"], "face"),
            (["generate", "{photo}", "--audio", "missing.wav", "-o", "{out}.mp4"], "missing.wav"),
            (["generate", "{photo}", "--audio", "{photo}", "-o", "{out}.mp4"], "not a sound"),
            (["generate", "{photo}", "--text", "Hello", "-o", "{out}.mp4"], "facebook/mms-tts-eng"),
            (["dub", "missing.mp4", "--audio", "{photo}", "-o", "{out}.mp4"], "not a sound"),
            (["track", "--audio", "missing.wav", "-o", "{out}.safetensors"], "missing.wav"),
            (["edit", "{photo}", "--set", "jawOpen=0.4", "-o", "{out}.txt"], ".png"),
            (["edit", "{photo}", "--set", "jawOpne=0.4", "-o", "{out}.png"], "jawOpen"),
            (["edit", "{photo}", "--set", "jawOpen=9", "-o", "{out}.png"], "out of range"),
            (["track", "missing.mp4", "-o", "{out}.safetensors"], "missing.mp4"),
            (["track", "{photo}", "-o", "{out}.mp4"], ".safetensors"),
        ],
    )
    def test_bad_input_gives_one_line_and_status_1(self, arguments, says, photo, tmp_path, capsys):
        filled = [argument.format(photo=photo, out=tmp_path / "out") for argument in arguments]
        before = set(tmp_path.iterdir())
        assert run(*filled) == 1
        message = capsys.readouterr().err
        assert message.startswith("superface: ")
        assert message.count("\n") == 1
        assert says in message
        assert set(tmp_path.iterdir()) == before


class TestUsage:
    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["unknown"],
            ["generate", "photo.jpg", "-o", "out.mp4"],
            ["generate", "photo.jpg", "--video", "a", "--motion", "b", "-o", "out.mp4"],
            ["generate", "photo.jpg", "--audio", "a", "--text", "b", "-o", "out.mp4"],
            ["dub", "talk.mp4", "-o", "out.mp4"],
            ["track", "-o", "out.safetensors"],
            ["edit", "photo.jpg", "-o", "out.png"],
            ["edit", "photo.jpg", "--set", "jawOpen", "-o", "out.png"],
            ["edit", "photo.jpg", "--set", "jawOpen=wide", "-o", "out.png"],
        ],
    )
    def test_a_misused_command_explains_itself_with_status_2(self, arguments, capsys):
        with pytest.raises(SystemExit) as stopped:
            run(*arguments)
        assert stopped.value.code == 2
        assert "usage:" in capsys.readouterr().err

    @pytest.mark.parametrize("command", [[], ["generate"], ["dub"], ["track"], ["edit"], ["demo"]])
    def test_help_is_there(self, command, capsys):
        with pytest.raises(SystemExit) as stopped:
            run(*command, "--help")
        assert stopped.value.code == 0
        assert "usage: superface" in capsys.readouterr().out


def test_help_does_not_load_torch():
    """The command answers at once: neither torch nor transformers is imported for it."""
    code = (
        "import sys, superface_hf.cli as c; c.build_parser(); "
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.skipif(os.name == "nt", reason="Windows tells no times of child processes")
@pytest.mark.parametrize(
    ("program", "most"), [(["-m", "superface_hf", "--help"], 0.3), (["-c", "import superface_hf"], 0.5)]
)
def test_help_and_import_are_quick(program, most):
    """In seconds of computing, so that a busy machine makes no difference; the second run has compiled modules."""
    for _ in range(2):
        before = os.times()
        subprocess.run([sys.executable, *program], check=True, timeout=60, stdout=subprocess.DEVNULL)
        after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system < most


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "superface_hf", "--version"]
    result = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)
    assert result.stdout == f"superface-hf {superface_hf.__version__}\n"


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of all commands, those below `train` and `evaluate` among them."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in below:
        for child in action.choices.values():
            yield from leaves(child)
    if not below:
        yield parser


def test_every_command_can_be_quiet_and_tell_programs_its_result():
    parsers = list(leaves(cli.build_parser()))
    assert len(parsers) >= len(cli.COMMANDS)
    for parser in parsers:
        options = {option for action in parser._actions for option in action.option_strings}
        assert "--quiet" in options, parser.prog
        assert ("--json" in options) != (parser.prog.split()[-1] in ("serve", "completion")), parser.prog


def test_quiet_hides_bars_and_warnings_and_is_undone(monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    code = "import sys, tqdm, warnings; warnings.warn('careful'); list(tqdm.tqdm([1])); print('error', file=sys.stderr)"
    with silence():
        result = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert result.stderr == "error\n"
    assert os.environ["PYTHONWARNINGS"] == "error"
    assert "TQDM_DISABLE" not in os.environ
    assert set(SILENT) >= {"HF_HUB_DISABLE_PROGRESS_BARS", "TRANSFORMERS_VERBOSITY"}


def test_json_holds_no_figure_that_json_does_not_know(capsys):
    print_result(argparse.Namespace(json=True), "a line", psnr=float("inf"), by_motion={"nod": (1.0, float("nan"))})
    assert json.loads(capsys.readouterr().out) == {"psnr": None, "by_motion": {"nod": [1.0, None]}}


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_shells_complete_every_command(shell, capsys):
    assert run("completion", shell) == 0
    script = capsys.readouterr().out
    for command in cli.COMMANDS:
        assert command.__name__.rpartition(".")[2] in script
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=script, text=True, check=False, timeout=60).returncode == 0


def test_fish_completes_options_and_choices(capsys):
    assert run("completion", "fish") == 0
    lines = capsys.readouterr().out.splitlines()
    after = "complete -c superface -n '__superface_after"
    assert any(line.startswith("complete -c superface -n '__superface_at' -f -a 'generate' -d ") for line in lines)
    assert any(line.startswith(f"{after} generate' -l when-short -x -a 'bounce hold stop' -d ") for line in lines)
    assert any(line.startswith(f"{after} generate' -s o -l output -r -d ") for line in lines)
    assert any(line.startswith("complete -c superface -n '__superface_at train' -f -a 'teacher' -d ") for line in lines)
    assert any(line.startswith(f"{after} train teacher' -l print -d ") for line in lines)
    assert f"{after} completion' -f -a '{' '.join(completion.SHELLS)}'" in lines
    assert "%(" not in "".join(lines)  # the defaults in help texts are filled in


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("superface gen", {"generate"}),
        ("superface generate --when-short ", {"bounce", "hold", "stop"}),
        ("superface train teacher --config a.yaml --pri", {"--print"}),
        ("superface completion ", set(completion.SHELLS)),
    ],
)
def test_fish_itself_offers_them(typed, offered, capsys, tmp_path):
    assert run("completion", "fish") == 0
    script = tmp_path / "superface.fish"
    script.write_text(capsys.readouterr().out)
    ask = ["fish", "--no-config", "-c", f"source {script}; complete -C {shlex.quote(typed)}"]
    answer = subprocess.run(
        ask, capture_output=True, text=True, check=True, timeout=60, env={**os.environ, "HOME": str(tmp_path)}
    )
    assert {line.split("\t")[0] for line in answer.stdout.splitlines()} >= offered
