"""Checkpoints from strangers: whatever they say, one line answers, before memory is taken for it."""

from __future__ import annotations

import io
import json
import shutil
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import PreTrainedConfig

from superface_hf import (
    SuperFaceAudioToLipConfig,
    SuperFaceAudioToLipModel,
    SuperFaceError,
    SuperFaceLipReaderConfig,
    SuperFaceLipReaderModel,
    SuperFaceStudentConfig,
    SuperFaceStudentModel,
    SuperFaceSyncExpertConfig,
    SuperFaceSyncExpertModel,
    SuperFaceTeacherConfig,
    SuperFaceTeacherModel,
    SuperFaceTrackerConfig,
    SuperFaceTrackerModel,
)
from superface_hf.face_model.coordinates import Square
from superface_hf.hub import weights_folder
from superface_hf.models.student.stored_layers import LayerFiles

MODELS = {
    "teacher": (SuperFaceTeacherModel, SuperFaceTeacherConfig),
    "student": (SuperFaceStudentModel, SuperFaceStudentConfig),
    "tracker": (SuperFaceTrackerModel, SuperFaceTrackerConfig),
    "audio_to_lip": (SuperFaceAudioToLipModel, SuperFaceAudioToLipConfig),
    "lip_reader": (SuperFaceLipReaderModel, SuperFaceLipReaderConfig),
    "sync_expert": (SuperFaceSyncExpertModel, SuperFaceSyncExpertConfig),
}
CONFIGS = [config for _, config in MODELS.values()]
MOST_MEMORY = 500  # MB


def numbers(config: type) -> list[str]:
    """The settings of a configuration that hold numbers, or lists of them."""
    own = {field.name for field in fields(config)} - {field.name for field in fields(PreTrainedConfig)}
    types = {field.name: str(field.type) for field in fields(config) if field.name in own}
    return sorted(name for name, kind in types.items() if ("int" in kind or "float" in kind))


def told(loading) -> str:
    """The one line that a load is refused with."""
    with pytest.raises(SuperFaceError) as refused:
        loading()
    message = str(refused.value)
    assert "\n" not in message
    assert len(message) < 700
    return message


def peak_mb() -> float:
    """The most memory that this process has had."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


@pytest.fixture
def copied(tmp_path):
    """A checkpoint of ours in a folder of its own, with its configuration and weights changed."""

    def make(name: str, config: dict | None = None, weights: dict | None = None, text: str | None = None) -> Path:
        folder = tmp_path / name
        shutil.copytree(weights_folder(name), folder)
        path = folder / "config.json"
        path.write_text(text if text is not None else json.dumps({**json.loads(path.read_text()), **(config or {})}))
        if weights is not None:
            stored = load_file(folder / "model.safetensors")
            stored.update(weights)
            kept = {key: value for key, value in stored.items() if value is not None}
            save_file(kept, folder / "model.safetensors", {"format": "pt"})
        return folder

    return make


@pytest.mark.parametrize("config", CONFIGS)
def test_every_number_of_a_configuration_has_bounds(config):
    assert set(numbers(config)) == set(config.bounds)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(
    "value", [0, -1, 10**6, 10**30, float("nan"), float("inf"), True, "512", None, [10**6], [1] * 999]
)
def test_a_number_out_of_bounds_is_refused(config, value):
    for name in config.bounds:
        low, high = config.bounds[name]
        if type(value) is int and low <= value <= high:
            continue
        with pytest.raises(StrictDataclassClassValidationError, match=name):
            config(**{name: value})


def test_the_sizes_we_ship_and_name_are_within_bounds():
    for size in ("tiny", "base", "large"):
        SuperFaceTeacherConfig.of_size(size)
    for size in ("tiny", "base"):
        SuperFaceStudentConfig.of_size(size)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nonsense",
        "[" * 100_000,
        '{"model_type": 3}',
        '{"model_type": "bert"}',
        " " * 2_000_000 + "{}",
        '{"a": ' + "9" * 10_000 + "}",
    ],
)
def test_a_config_that_is_none_is_refused(copied, name, text):
    folder = copied(name, text=text)
    assert str(folder) in told(lambda: MODELS[name][0].from_pretrained(folder))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "config",
    [
        {"dtype": "float8_e4m3fn"},
        {"dtype": "os"},
        {"torch_dtype": ["float32"], "dtype": None},
        {"configuration_files": ["config.4.0.0.json"]},
    ],
)
def test_what_transformers_would_stumble_over_is_refused(copied, name, config):
    told(lambda: MODELS[name][0].from_pretrained(copied(name, config)))


@pytest.mark.parametrize("name", MODELS)
def test_settings_that_a_model_does_not_know_do_nothing(copied, name):
    """Some of transformers' own take memory (num_labels makes that many entries), or replace what a model relies on."""
    before = peak_mb()
    strange = {
        "num_labels": 10**9,
        "validate": 1,
        "to_dict": 1,
        "bounds": {},
        "hops_per_frame": 9,
        "quantization_config": {},
    }
    model = MODELS[name][0].from_pretrained(copied(name, strange))
    assert callable(model.config.to_dict)
    assert peak_mb() - before < MOST_MEMORY


@pytest.mark.parametrize("name", MODELS)
class TestWeights:
    def test_none_of_the_models_weights(self, copied, name):
        folder = copied(name)
        save_file({"other": torch.zeros(3)}, folder / "model.safetensors", {"format": "pt"})
        assert "are missing" in told(lambda: MODELS[name][0].from_pretrained(folder))

    def test_one_missing(self, copied, name):
        first = next(
            key for key, value in load_file(weights_folder(name) / "model.safetensors").items() if value.dim() > 1
        )
        assert first in told(lambda: MODELS[name][0].from_pretrained(copied(name, weights={first: None})))

    def test_one_misshapen(self, copied, name):
        first = next(
            key for key, value in load_file(weights_folder(name) / "model.safetensors").items() if value.dim() > 1
        )
        message = told(lambda: MODELS[name][0].from_pretrained(copied(name, weights={first: torch.zeros(3, 5)})))
        assert "[3, 5]" in message

    @pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
    def test_one_that_is_not_finite(self, copied, name, value):
        stored = load_file(weights_folder(name) / "model.safetensors")
        first = next(key for key, tensor in stored.items() if tensor.is_floating_point() and tensor.dim() > 1)
        spoilt = stored[first].clone()
        spoilt.view(-1)[-1] = value
        assert "not finite" in told(lambda: MODELS[name][0].from_pretrained(copied(name, weights={first: spoilt})))

    def test_one_of_a_type_that_no_weight_has(self, copied, name):
        stored = load_file(weights_folder(name) / "model.safetensors")
        first = next(key for key, tensor in stored.items() if tensor.is_floating_point() and tensor.dim() > 1)
        for kind in (torch.float8_e4m3fn, torch.int8, torch.bool):
            folder = copied(name, weights={first: stored[first].to(kind)})
            assert first in told(lambda folder=folder: MODELS[name][0].from_pretrained(folder))
            shutil.rmtree(folder)

    def test_sizes_that_the_files_do_not_hold_take_no_memory(self, copied, name):
        """As large as the bounds allow, with weights of the usual size."""
        model, config = MODELS[name]
        largest = {key: high for key, (_, high) in config.bounds.items() if key in ("hidden_size", "code_channels")}
        largest = largest or {"landmark_coefficients": 4096, "detector_channels": 512}
        before = peak_mb()
        assert "does not fit" in told(lambda: model.from_pretrained(copied(name, largest)))
        assert peak_mb() - before < MOST_MEMORY


def test_an_index_cannot_lead_out_of_the_checkpoint(copied):
    folder = copied("teacher")
    (folder / "model.safetensors").rename(folder / "elsewhere.safetensors")
    index = folder / "model.safetensors.index.json"
    for weight_map in (
        {"a": "../teacher/elsewhere.safetensors"},
        {"a": 3},
        {},
        [],
        {str(i): str(i) for i in range(2000)},
    ):
        index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
        assert "index" in told(lambda: SuperFaceTeacherModel.from_pretrained(folder))


@pytest.mark.parametrize(
    ("encoder", "says"),
    [
        (None, "audio_encoder_config"),
        ({"model_type": "wav2vec2", "num_hidden_layers": 10**6}, "num_hidden_layers"),
        ({"model_type": "wav2vec2", "hidden_size": 10**9}, "hidden_size"),
        ({"model_type": "wav2vec2", "conv_dim": [8] * 10_000}, "too much"),
        ({"model_type": "bert"}, "does not hear"),
        ({"model_type": "nothing"}, "nothing"),
        ({}, "model_type"),
    ],
)
def test_an_audio_encoder_of_a_stranger_is_bounded_too(copied, encoder, says):
    config = {"audio_encoder": "someone/encoder", "audio_encoder_config": encoder}
    assert says in told(lambda: SuperFaceAudioToLipModel.from_pretrained(copied("audio_to_lip", config)))


# Students, which bring a picture besides.


def picture(width: int = 256, height: int = 256, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "grey").save(file, kind)
    return file.getvalue()


def png_that_says(width: int, height: int) -> bytes:
    """A PNG whose header promises that many pixels, and that holds none."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n/Times findfont\nshowpage\n%%EOF\n"


@pytest.fixture
def student(tmp_path, face_model):
    """The folder of a small student that stores what it is told."""

    def make(file: bytes = picture(), layers: dict[str, bytes] | None = None, **stored: object) -> Path:
        files = LayerFiles(file, picture(), picture(), picture())._replace(**(layers or {}))
        lengths = {f"{name}_bytes": len(content) for name, content in files._asdict().items()}
        config = SuperFaceStudentConfig.of_size("tiny", person="Nobody", **lengths)
        model = SuperFaceStudentModel(config)
        landmarks = 0.4 * face_model.mean.numpy()
        blank, appearance = torch.zeros(1, 3, config.image_size, config.image_size), torch.zeros(1, 4, 16, 16)
        model.store(files, Square(20, 20, 200), landmarks, blank, blank[:, :1], appearance)
        for name, value in stored.items():
            getattr(model, name).copy_(torch.as_tensor(value))
        model.save_pretrained(tmp_path / "student")
        return tmp_path / "student"

    return make


def test_a_small_student_loads(student):
    assert SuperFaceStudentModel.from_pretrained(student()).full_picture().shape == (256, 256, 3)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (EPS, "must be a PNG or JPEG file"),
        (picture(kind="TIFF"), "must be a PNG or JPEG file"),
        (picture(kind="GIF"), "must be a PNG or JPEG file"),
        (b"nothing", "must be a PNG or JPEG file"),
        (png_that_says(6000, 6000), "6000 x 6000"),
        (png_that_says(12_000, 12_000), "12000 x 12000"),
        (png_that_says(100_000, 100_000), "must be a PNG or JPEG file"),
    ],
)
def test_a_students_picture_is_of_few_kinds_and_of_a_measure(student, file, says, recwarn):
    folder, before = student(file), peak_mb()
    assert says in told(lambda: SuperFaceStudentModel.from_pretrained(folder))
    assert peak_mb() - before < MOST_MEMORY
    assert not [warning for warning in recwarn if "Decompression" in str(warning.category)]


@pytest.mark.parametrize("layer", ["colours", "alpha", "plate"])
@pytest.mark.parametrize(
    ("file", "says"),
    [
        (EPS, "cannot be read"),
        (picture(kind="JPEG"), "cannot be read"),  # knows no transparency
        (b"", "cannot be read"),
        (png_that_says(12_000, 12_000), "12000 x 12000"),
        (picture(128, 256), "differ in size"),
    ],
)
def test_a_students_layers_are_of_few_kinds_and_of_the_pictures_size(student, layer, file, says):
    folder, before = student(layers={layer: file}), peak_mb()
    message = told(lambda: SuperFaceStudentModel.from_pretrained(folder))
    assert says in message
    assert layer in message
    assert peak_mb() - before < MOST_MEMORY


def test_a_layer_that_is_damaged_inside_says_so(student):
    folder = student(layers={"plate": picture()[:60] + b"garbage"})
    assert "plate" in told(lambda: SuperFaceStudentModel.from_pretrained(folder).layers())


@pytest.mark.parametrize(
    "square", [[0, 0, 12_000], [0, 0, 0], [0, 0, -5], [300, 0, 200], [-(2**62), 0, 2**62], [0, 0, 1000]]
)
def test_a_students_crop_fits_its_picture(student, square):
    folder, before = student(square=square), peak_mb()
    assert "crop" in told(lambda: SuperFaceStudentModel.from_pretrained(folder))
    assert peak_mb() - before < MOST_MEMORY


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9, 0.0])
def test_a_students_landmarks_are_those_of_a_face(student, value):
    bits = np.full((478, 3), value, np.float32).view(np.int32)
    assert "landmarks" in told(lambda: SuperFaceStudentModel.from_pretrained(student(landmark_bits=bits)))


@pytest.mark.parametrize("carrier", [-1, 478, 2**40])
def test_a_students_carriers_are_landmarks(student, carrier):
    assert "carriers" in told(lambda: SuperFaceStudentModel.from_pretrained(student(carriers=carrier)))


@pytest.mark.parametrize("person", ["x" * 10_000, "two\nlines", "\x1b[2J"])
def test_a_students_person_is_a_name(copied, person):
    assert "person" in told(lambda: SuperFaceStudentModel.from_pretrained(copied("student", {"person": person})))


def test_the_pipeline_and_the_command_refuse_them_too(student, tmp_path, capsys):
    from transformers import pipeline

    from superface_hf import cli

    folder = str(student(square=[0, 0, 12_000]))
    assert "crop" in told(lambda: pipeline("talking-face", model=folder, device="cpu"))
    command = ["generate", "--model", folder, "--motion", "nod", "-o", str(tmp_path / "out.mp4")]
    assert cli.main(command) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("superface: This student's crop")


def test_a_portrait_that_is_too_large_to_store_is_made_smaller(face_model, monkeypatch):
    from superface_hf.models.tracker.base import Face
    from superface_hf.training.student import portrait
    from superface_hf.training.student.config import DistillationConfig

    class Tracker:
        def find_faces(self, image: np.ndarray) -> list[Face]:
            height, width = image.shape[:2]
            points = face_model.mean.numpy() * 0.2 * width + np.array([width / 2, height / 2, 0])
            return [Face.of(points.astype(np.float32), 1.0)]

    monkeypatch.setattr(portrait, "LARGEST_PICTURE", 40_000)
    config = DistillationConfig(portrait=np.full((300, 400, 3), 90, np.uint8), name="x", out="x")  # type: ignore[arg-type]
    found = portrait.found_portrait(config, Tracker(), face_model, 128)
    assert found.picture.shape[0] * found.picture.shape[1] <= 40_000
    monkeypatch.setattr(portrait, "LARGEST_CROP", 100)
    assert portrait.found_portrait(config, Tracker(), face_model, 128).crop.side <= 100
