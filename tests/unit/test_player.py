"""The player: an exported student moves and looks as it does with torch, where torch cannot even be imported."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_student import made_student, trained_a_little
from transformers import pipeline

import superface_hf
from superface_hf import MediaError, SuperFaceError, SuperFaceStudentConfig, SuperFaceStudentModel, inspect_file
from superface_hf.animation.portrait import stored_portrait
from superface_hf.cli import main
from superface_hf.drivers.idle import IdleMotion
from superface_hf.export import export_folder
from superface_hf.export.loading import load_exportable
from superface_hf.export.runtime.face_graph import row_layout
from superface_hf.export.runtime.student_graph import OUTPUTS, StudentRuntimeGraph
from superface_hf.hub import weights_folder
from superface_hf.media import VideoReader, load_sound
from superface_hf.media.sound import Sound
from superface_hf.player import StudentPlayer
from superface_hf.player.command import main as play
from superface_hf.player.motion_rows import rows_of
from superface_hf.player.picture import StudentPicture
from superface_hf.renderers.student import StudentRenderer
from superface_hf.utils.assets import SPEECH

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

WITHOUT_TORCH = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "diffusers", "huggingface_hub"):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Blocked())
from superface_hf.player.command import main

status = main(sys.argv[1:])
assert "torch" not in sys.modules
sys.exit(status)
"""


@pytest.fixture(scope="module")
def sentence() -> Sound:
    """The bundled one's first second and a half."""
    return load_sound(SPEECH).cut(1.5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """The embedded student."""
    path = tmp_path_factory.mktemp("player") / "student"
    assert main(["export", "student", "--runtime", "onnx", "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def player(exported) -> StudentPlayer:
    return StudentPlayer(exported, threads=2)


@pytest.fixture(scope="module")
def tiny(face_model) -> SuperFaceStudentModel:
    """A student of another size with a small face in a picture of odd sides."""
    picture = np.random.default_rng(0).integers(60, 200, (15, 21, 3), np.uint8).repeat(15, 0).repeat(15, 1)
    points = (face_model.mean.numpy() * 30 + np.array([150, 120, 0])).astype(np.float32)
    return trained_a_little(made_student(SuperFaceStudentConfig.of_size("tiny"), picture, points))


def decibels(frames: list[np.ndarray], expected: np.ndarray) -> float:
    assert len(frames) == len(expected)
    error = np.mean(
        [np.square(one.astype(np.float64) - other).mean() for one, other in zip(frames, expected, strict=True)]
    )
    return float(10 * np.log10(255**2 / max(error, 1e-12)))


def test_a_spoken_sentence_looks_as_with_torch(player, sentence):
    pipe = pipeline("talking-face", model=str(weights_folder("student")), device="cpu")
    expected = pipe(audio=(sentence.samples, sentence.rate), fps=25.0).frames
    frames = list(player.frames((sentence.samples, sentence.rate)))
    assert np.stack(frames).std(0).max() > 20  # something moves
    assert decibels(frames, expected) > 45


def test_a_student_of_another_size_and_wild_motion_too(tiny, exported, face_model):
    """The graph as torch runs it, drawn by the player."""
    portrait = stored_portrait(tiny, face_model)
    graph = StudentRuntimeGraph(tiny, portrait, face_model).eval()
    about = json.loads((exported / "manifest.json").read_text())
    about |= {"image_size": 128, "face_width": float(np.ptp(portrait.landmarks[:, 0])) * portrait.crop.side / 2}
    picture = StudentPicture(SimpleNamespace(about=about, layers=lambda: tiny.layer_files()._asdict()))
    layout = row_layout(face_model)
    rows = rows_of(IdleMotion(strength=2.0).motion(200, 25.0)[20::60], layout)
    rows[:, slice(*layout["mouth"])] = np.random.default_rng(0).normal(0, 1, (len(rows), 30))
    with torch.inference_mode():
        outputs = dict(zip(OUTPUTS, graph(torch.from_numpy(rows)), strict=True))
    frames = [picture.frame({name: part[i].numpy() for name, part in outputs.items()}) for i in range(len(rows))]
    expected = StudentRenderer(tiny).prepare(portrait, tiny.layers).frames(outputs["landmarks"])
    assert decibels(frames, expected) > 45


def test_chunks_give_each_frame_as_soon_as_it_is_known(player, sentence):
    samples, heard = load_sound(SPEECH).mono(16000)[:16000], 0

    def chunks():
        nonlocal heard
        for start in range(0, len(samples), 320):
            heard = start + 320
            yield samples[start : start + 320]

    delays = [heard / 16000 - index / 25 for index, _ in enumerate(player.frames(chunks(), sampling_rate=16000))]
    assert len(delays) == 25
    assert max(delays) < 0.24


def test_the_command_runs_where_torch_cannot_be_imported(exported, sentence, tmp_path):
    whole = load_sound(SPEECH)
    sound = tmp_path / "speech.wav"
    write_wav(sound, whole.mono(16000)[: 16000 * 3 // 2])
    source = str(Path(superface_hf.__file__).parent.parent)
    command = [sys.executable, "-c", WITHOUT_TORCH, str(exported), str(sound), "-o", str(tmp_path / "out.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": source})
    assert done.returncode == 0, done.stderr
    assert "38 frames" in done.stdout
    reader = VideoReader(tmp_path / "out.mp4")
    assert sum(1 for _ in reader) == 38
    assert inspect_file(tmp_path / "out.mp4").ai_generated


def write_wav(path: Path, samples: np.ndarray) -> None:
    from docs_reader import write_wav as write

    write(path, samples, 16000)


def test_the_manifest_tells_what_a_runtime_must_know(exported):
    about = json.loads((exported / "manifest.json").read_text())
    assert about["person"] == "Eileen Collins"
    assert about["license"] == "Apache-2.0"
    assert about["provenance"]["digital_source_type"].endswith("compositeWithTrainedAlgorithmicMedia")
    assert set(about["files"]) | {"manifest.json"} == {path.name for path in exported.iterdir()}
    assert all(said["bytes"] == (exported / name).stat().st_size for name, said in about["files"].items())
    assert about["motion"]["mouth"]["columns"] == [6, 36]
    assert set(about["motion"]) == {"rotation", "translation", "scale", "mouth", "eyes", "brows", "gaze"}


def test_what_is_no_exported_student_is_refused(tmp_path, capsys):
    (tmp_path / "manifest.json").write_text("{}")
    assert play([str(tmp_path), str(SPEECH), "-o", str(tmp_path / "out.mp4")]) == 1
    assert "superface export" in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


def test_an_incomplete_folder_says_what_is_missing(exported, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(exported, path)
    (path / "student.onnx").unlink()
    with pytest.raises(SuperFaceError, match=r"incomplete \(student.onnx\)"):
        StudentPlayer(path)


def test_chunks_need_their_rate(player):
    with pytest.raises(MediaError, match="sampling_rate=16000"):
        player.motions(iter([np.zeros(10, np.float32)]))


def test_a_folder_with_other_things_is_left_alone(tiny, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(SuperFaceError, match="holds other things"):
        export_folder(tiny, load_exportable("audio_to_lip"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_runtime_folder_needs_a_student(tmp_path, capsys):
    assert main(["export", "audio_to_lip", "--runtime", "onnx", "-o", str(tmp_path / "out")]) == 1
    assert "holds a student" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
