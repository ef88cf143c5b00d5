"""ONNX files: they give what torch gives, in batches of any size, and none is left behind that does not."""

from __future__ import annotations

import copy
import json
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from test_student import made_student, trained_a_little

from superface_hf import (
    SuperFaceAudioToLipConfig,
    SuperFaceAudioToLipModel,
    SuperFaceError,
    SuperFaceStudentConfig,
    SuperFaceStudentModel,
)
from superface_hf.cli import main
from superface_hf.export import audio_to_lip, export_onnx, tracing
from superface_hf.export.onnx_file import run_with_onnxruntime
from superface_hf.export.precision import rounded
from superface_hf.export.student import OUTPUTS, compared
from superface_hf.layers.motion import Window

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

RATE = 16000


@pytest.fixture(scope="module")
def student(face_model) -> SuperFaceStudentModel:
    """A tiny student with heads that are not zero, so that all of its parts speak."""
    picture = np.random.default_rng(0).integers(60, 200, (15, 20, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    points = (face_model.mean.numpy() * 60 + np.array([160, 130, 0])).astype(np.float32)
    return trained_a_little(made_student(SuperFaceStudentConfig.of_size("tiny", person="nobody"), picture, points))


@pytest.fixture(scope="module")
def exported(student, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("export") / "student.onnx"
    export_onnx(student, path)
    return path


@pytest.fixture(scope="module")
def run(exported):
    return run_with_onnxruntime(exported.read_bytes(), 1)


@pytest.fixture(scope="module")
def lips() -> SuperFaceAudioToLipModel:
    torch.manual_seed(0)
    made = SuperFaceAudioToLipModel(SuperFaceAudioToLipConfig(hidden_size=24, dilations=(1, 2))).eval()
    with torch.no_grad():
        made.network.head.weight.mul_(20)  # mouths of about one standard deviation
    return made


@pytest.fixture
def meshes(student) -> torch.Tensor:
    """(5, 478, 3): the face where it is, elsewhere, turned over a little, and half out of the picture."""
    rest = student.landmarks
    turned = rest * torch.tensor([0.8, 1.0, 1.0]) + 0.1 * rest.flip(-1)
    shifts = torch.tensor([[0.0, 0.0, 0.0], [0.1, -0.05, 0.0], [-0.7, 0.4, 0.0]])
    return torch.cat((rest + shifts[:, None], turned[None], 1.2 * rest[None]))


@pytest.fixture
def windows() -> torch.Tensor:
    """(5, 3): the crop itself, beside it, and of other sizes."""
    return torch.tensor([[0.0, 0, 1], [0.1, 0, 1], [0.0, 0.2, 0.8], [0.0, 0, 1.5], [-0.2, 0.1, 1.0]])


def parts_of(student: SuperFaceStudentModel, meshes: torch.Tensor, windows: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        output = student(meshes, Window(windows[:, :2], windows[:, 2]))
    parts = (output.motion.flow, output.keep, output.paint, output.alpha_change)
    return compared({name: part.numpy() for name, part in zip(OUTPUTS, parts, strict=True)})


# Students


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_students_graph_gives_what_torch_gives_in_batches_of_any_size(student, run, meshes, windows, batch):
    parts = [
        run({"landmarks": part.numpy(), "window": places.numpy()})
        for part, places in zip(meshes.split(batch), windows.split(batch), strict=True)
    ]
    found, expected = np.concatenate([compared(part) for part in parts]), parts_of(student, meshes, windows)
    assert parts[0]["flow"].shape == (batch, 2, 64, 64)
    assert parts[0]["paint"].shape == (batch, 3, 128, 128)
    assert np.abs(found - expected).max() <= 6
    assert np.abs(found - expected).mean() < 0.01


@pytest.mark.parametrize("part", ["motion_encoder", "dense_motion", "generator", "painters"])
def test_every_part_of_a_student_is_in_the_graph(student, run, meshes, windows, part):
    without = copy.deepcopy(student)
    with torch.no_grad():
        for parameter in getattr(without, part).parameters():
            parameter.zero_()
    found = compared(run({"landmarks": meshes.numpy(), "window": windows.numpy()}))
    assert np.abs(found - parts_of(without, meshes, windows)).max() > 5


def test_the_file_says_what_a_runtime_must_know(student, exported):
    beside = json.loads(exported.with_suffix(".json").read_text())
    file = onnx.load(exported)
    inside = {entry.key: entry.value for entry in file.metadata_props}
    assert json.loads(inside["superface"]) == beside
    assert inside["license"] == beside["license"] == "Apache-2.0"
    assert file.producer_name == "superface-hf"
    assert beside["model_type"] == "superface_student"
    assert beside["image_size"] == 128
    assert beside["picture"] == {"width": 320, "height": 240}
    assert beside["crop"]["side"] == student.crop.side
    assert np.allclose(beside["rest_landmarks"], student.landmarks.numpy(), atol=1e-6)


def test_a_student_without_a_portrait_says_what_to_do(tmp_path):
    with pytest.raises(SuperFaceError, match="superface distill"):
        export_onnx(SuperFaceStudentModel(SuperFaceStudentConfig.of_size("tiny")), tmp_path / "student.onnx")


def test_an_export_in_one_thread_leaves_the_others_alone():
    seen: list[torch.Tensor | None] = []
    with tracing.Substitutes():
        assert torch.ones(1, 3).cummax(1).indices is None  # ONNX has none
        other = threading.Thread(target=lambda: seen.append(torch.ones(1, 3).cummax(1).indices))
        other.start()
        other.join()
    assert seen[0] is not None
    assert torch.ones(1, 3).cummax(1).indices is not None


def test_what_stands_in_for_torch_gives_what_torch_gives():
    torch.manual_seed(0)
    half, right = torch.randn(3, 4, 20), torch.randn(3, 4, 3)
    matrix = half @ half.transpose(1, 2)
    assert torch.allclose(tracing.solve(matrix, right), torch.linalg.solve(matrix, right), atol=1e-5)
    x = torch.randn(3, 9)
    assert torch.equal(tracing.running_maximum(x, 1), x.cummax(1).values)


# Audio-to-lip


def test_speech_in_pieces_gives_the_mouths_that_torch_streams(lips, tmp_path):
    report = export_onnx(lips, tmp_path / "lips.onnx")
    about = json.loads(report.path.with_suffix(".json").read_text())
    run = run_with_onnxruntime(report.path.read_bytes(), 1)
    level = np.repeat(np.random.default_rng(1).uniform(0, 0.3, (3, 20)), 800, axis=1)
    sounds = (level * np.random.default_rng(2).normal(size=level.shape)).astype(np.float32)
    padded = np.pad(sounds, ((0, 0), (about["zeros_before"], 0)))
    step, overlap = about["samples_per_frame"], about["samples_overlap"]
    state, mouths, done = np.zeros((3, about["state_size"]), np.float32), [], 0
    for frames in (1, 1, 20, 2, 25):
        out = run({"samples": padded[:, done * step : (done + frames) * step + overlap], "state": state})
        assert out["mouth"].shape == (3, frames, about["mouth_size"])
        state = out["next_state"]
        mouths.append(out["mouth"])
        done += frames
    for sound, mouth in zip(sounds, np.concatenate(mouths, axis=1)[:, about["look_ahead_frames"] :], strict=True):
        streamed = lips.stream(about["frame_rate"]).push(sound)
        assert len(streamed) == len(mouth)
        assert np.abs(streamed - mouth).max() < 1e-4
        assert streamed.std() > 0.1


def test_silence_leaves_the_state_at_zero(lips, tmp_path):
    report = export_onnx(lips, tmp_path / "lips.onnx")
    about = json.loads(report.path.with_suffix(".json").read_text())
    silence = np.zeros((1, 10 * about["samples_per_frame"] + about["samples_overlap"]), np.float32)
    state = np.zeros((1, about["state_size"]), np.float32)
    out = run_with_onnxruntime(report.path.read_bytes(), 1)({"samples": silence, "state": state})
    assert np.abs(out["next_state"]).max() < 1e-4


def test_fewer_bits_make_smaller_files_that_stay_close(lips, tmp_path):
    full, half, eighth = (export_onnx(lips, tmp_path / f"{p}.onnx", p) for p in ("fp32", "fp16", "int8"))
    assert full.size > half.size > eighth.size
    assert full.rms < half.rms < eighth.rms < 0.1


def test_int8_weights_are_off_by_half_a_step_at_most():
    weight = np.random.default_rng(0).normal(size=(5, 3, 3, 3)).astype(np.float32)
    weight[2] = 0
    narrow, scale = rounded(weight)
    assert narrow.dtype == np.int8
    assert np.abs(narrow).max() == 127
    assert (np.abs(narrow * scale - weight) <= 0.501 * scale).all()


def test_a_model_with_another_ones_ears_is_refused(lips, tmp_path, monkeypatch):
    monkeypatch.setattr(lips, "audio_encoder", torch.nn.Identity())
    monkeypatch.setattr(lips.config, "audio_encoder", "facebook/wav2vec2-base")
    with pytest.raises(SuperFaceError, match=r"facebook/wav2vec2-base.*cannot be exported"):
        export_onnx(lips, tmp_path / "lips.onnx")


# Nothing wrong, and nothing half-written, is left behind


def test_a_graph_that_differs_from_torch_is_not_written(lips, tmp_path, monkeypatch):
    (tmp_path / "lips.onnx").write_bytes(b"what was there")
    monkeypatch.setattr(audio_to_lip, "OFFSET", audio_to_lip.OFFSET + 1)  # one decibel louder
    with pytest.raises(SuperFaceError, match="does not give what torch gives"):
        export_onnx(lips, tmp_path / "lips.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["lips.onnx"]
    assert (tmp_path / "lips.onnx").read_bytes() == b"what was there"


def test_a_file_that_cannot_be_written_leaves_nothing(lips, tmp_path):
    (tmp_path / "lips.onnx").mkdir()
    with pytest.raises(SuperFaceError, match="cannot be written"):
        export_onnx(lips, tmp_path / "lips.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["lips.onnx"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "lips.pb"}, "end with .onnx"),
        ({"path": "nowhere/lips.onnx"}, "no folder"),
        ({"precision": "int4"}, "fp32, fp16, int8"),
    ],
)
def test_impossible_wishes_are_refused(lips, tmp_path, options, message):
    path = tmp_path / options.pop("path", "lips.onnx")
    with pytest.raises(SuperFaceError, match=message):
        export_onnx(lips, path, **options)
    assert not list(tmp_path.iterdir())


def test_a_teacher_is_refused(small_teacher, tmp_path):
    with pytest.raises(SuperFaceError, match="superface distill"):
        export_onnx(small_teacher, tmp_path / "teacher.onnx")


def test_without_onnxruntime_the_file_is_written_and_the_report_says_so(lips, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    report = export_onnx(lips, tmp_path / "lips.onnx")
    assert report.path.is_file()
    assert "not compared with torch" in str(report)


def test_without_onnx_the_extra_is_named(lips, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(SuperFaceError, match=r"\.\[export\]"):
        export_onnx(lips, tmp_path / "lips.onnx")


# The command


def test_the_command_exports_a_folder(lips, tmp_path, capsys):
    lips.save_pretrained(tmp_path / "lips")
    assert main(["export", str(tmp_path / "lips"), "-o", str(tmp_path / "lips.onnx"), "--precision", "int8"]) == 0
    assert "differs from torch by at most" in capsys.readouterr().out
    assert json.loads((tmp_path / "lips.json").read_text())["precision"] == "int8"


@pytest.mark.parametrize(("source", "message"), [("teacher", "superface_teacher"), (".", "no checkpoint")])
def test_the_command_refuses_what_it_cannot_export(source, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", source, "-o", str(tmp_path / "out.onnx")]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
