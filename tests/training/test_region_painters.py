"""The training of one painter alone: what is gathered for it, and what it promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("accelerate")

from superface_hf import SuperFaceError
from superface_hf.data.regions import gather
from superface_hf.data.regions.windows import NAMES, PAINTED, RegionBatch, RegionWindows
from superface_hf.face_model.linear import FaceModel
from superface_hf.face_model.topology import LIPS_OUTER
from superface_hf.models.embedded import embedded_lip_reader
from superface_hf.models.lip_reader.mouth_pictures import mouth_pictures, pictures_in_windows
from superface_hf.models.painters.painter import draw_region, region_shape
from superface_hf.models.painters.windows import MOUTH, RegionWindow
from superface_hf.motion import Motion
from superface_hf.training.losses.lip_reading import LipReadingDistance
from superface_hf.training.painters.trainer import around_it


@pytest.fixture(scope="module")
def gathered(small_teacher, astronaut) -> dict[str, dict[str, np.ndarray]]:
    """Windows of a clip in which the portrait slides a little."""
    frames = [np.roll(astronaut, step, axis=1) for step in range(4)]
    faces = gather.embedded_tracker().follow(iter(frames))
    clip = gather.SeenClip(frames, np.stack([face.landmarks for face in faces if face]), 25.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gather, "TARGETS", 3)
        patch.setattr(gather, "SHUT", 1)
        patch.setattr(gather, "BLINKING", 1)
        return gather.windows_of(clip, small_teacher)


@pytest.mark.e2e
@pytest.mark.parametrize("region", PAINTED)
def test_what_is_true_lies_where_what_is_rendered_does(gathered, region):
    windows, kind = gathered[region], PAINTED[region]
    assert set(windows) == set(NAMES)
    rows = 2 * 3 * len(kind.regions)  # two sources with three targets each
    assert all(len(values) == rows for values in windows.values())
    assert windows["target"].shape == (rows, 3, *kind.regions[0].size)
    apart = np.abs(windows["before"].astype(int) - windows["target"])
    beside = np.abs(windows["before"].astype(int) - np.roll(windows["target"], 12, axis=-1))
    assert apart.mean() < 0.7 * beside.mean()


@pytest.mark.e2e
def test_the_mouth_is_asked_for_and_its_surroundings_are_not(gathered):
    asked = gathered["mouth"]["asked"][:, 0]
    assert (asked[:, 60:68, 90:102] > 250).all()
    assert (asked[:, :8] == 0).all()
    assert 0.05 < (asked > 128).mean() < 0.5


def test_sources_are_the_most_shut_and_the_most_open_mouth():
    landmarks = np.zeros((12, 478, 3), np.float32)
    landmarks[:, 263, 0] = 100
    openings = np.random.default_rng(0).permutation(12)
    landmarks[:, 14, 1] = openings
    landmarks[:, [145, 374], 1] = eyes = np.random.default_rng(1).permutation(12)[:, None]
    clip = gather.SeenClip([np.zeros((8, 8, 3), np.uint8)] * 12, landmarks, 25.0)
    pairs = list(clip.pairs())
    assert [openings[source] for source, _ in pairs] == [0, 11]
    for source, targets in pairs:
        assert source not in targets
        assert len(set(targets)) == gather.TARGETS
        assert openings[targets].max() >= 10
        assert eyes[targets].min() <= 1


def test_clips_that_are_gathered_first_are_varied():
    rows = [{"split": "train", "repo": name} for name in "aaabbc"] + [{"split": "val", "repo": "d"}]
    assert "".join(row["repo"] for row in gather.by_variety(rows)) == "dabcaba"


def test_the_asked_part_holds_the_lips():
    mouth = np.zeros((478, 2), np.float32)
    angles = np.linspace(0, 2 * np.pi, len(LIPS_OUTER), endpoint=False)
    mouth[LIPS_OUTER] = np.stack([96 + 40 * np.cos(angles), 64 + 15 * np.sin(angles)], axis=1)
    asked = gather.asked_part(mouth[LIPS_OUTER], MOUTH.size)
    assert asked[64, 96] == 255
    assert asked[64 - 15, 96] > 250
    assert asked[5, 5] == 0


def test_a_mirrored_batch_is_drawn_as_a_mirrored_face_is():
    model, still = FaceModel.default(), Motion.neutral(1, 25.0)
    grin = still.edit({"mouthSmileLeft": 1.0, "jawOpen": 0.4})
    # The mean face is not quite symmetric; it is made so.
    twins = model.mirror
    other_side = torch.tensor([-1.0, 1.0, 1.0])
    canonical = (model.mean + model.mean[twins] * other_side) / 2
    face = (model.animate(model.neutral_shape(model.mean, still), grin) - model.mean + canonical) * 0.6
    batches = []
    for mesh in (face, face[:, twins] * other_side):
        window = RegionWindow.around(mesh, MOUTH)
        inside = window.enter(mesh)
        drawn = torch.cat((draw_region(inside, window, canonical), draw_region(inside, window, None)), dim=1)
        shape = region_shape(inside, MOUTH)
        picture = torch.linspace(0, 1, MOUTH.size[1]).expand(1, 3, *MOUTH.size)
        if batches:
            picture = picture.flip(-1)
        batches.append(
            RegionBatch(picture, picture, drawn, torch.stack((shape, shape), 1), picture, picture, picture[:, :1])
        )
    both = batches[0].mirrored(torch.tensor([True]))
    for name in NAMES:
        assert torch.allclose(getattr(both, name), getattr(batches[1], name), atol=0.03), name
        assert torch.equal(getattr(batches[0].mirrored(torch.tensor([False])), name), getattr(batches[0], name))
    assert not torch.allclose(batches[0].shapes, batches[1].shapes, atol=0.03)


def test_light_changes_colours_together_and_leaves_the_rest():
    one = torch.ones(2, 3, 4, 6)
    batch = RegionBatch(one, one, one, torch.ones(2, 2, 20, 3), one, one, one[:, :1])
    tinted = batch.tinted(0.5)
    assert torch.equal(tinted.shown, tinted.target)
    assert not torch.equal(tinted.shown[0], tinted.shown[1])
    assert 0.5 <= tinted.shown.min() < tinted.shown.max() <= 1
    assert tinted.asked is batch.asked
    assert tinted.drawn is batch.drawn


def _batch(change: torch.Tensor) -> RegionBatch:
    """A grey window, all of it skin, of which nothing is asked; the true one is changed."""
    grey = torch.full((1, 3, *MOUTH.size), 0.5)
    drawn = torch.ones(1, 13, MOUTH.size[0] // 2, MOUTH.size[1] // 2)
    return RegionBatch(grey, grey, drawn, torch.ones(1, 2, 20, 3), grey, grey + change, torch.zeros_like(grey[:, :1]))


def test_folds_are_asked_in_light_and_texture_is_not():
    columns = torch.arange(MOUTH.size[1])
    shade = -0.2 * torch.exp(-((columns - 60) / 12.0).square()).expand(1, 3, *MOUTH.size)
    texture = 0.1 * (columns % 2 * 2 - 1).expand(1, 3, *MOUTH.size)
    none = torch.zeros_like(shade)

    def terms(painted: torch.Tensor, asked: torch.Tensor) -> dict[str, float]:
        return {name: float(term) for name, term in around_it(0.5 + painted, _batch(asked)).items()}

    assert terms(none, shade)["folds"] > 10 * terms(none, texture)["folds"]
    assert terms(shade, shade)["folds"] < 0.1 * terms(none, shade)["folds"]
    assert terms(texture, none)["around"] > 10 * terms(shade, none)["around"]


def test_a_folder_without_windows_is_named(tmp_path):
    with pytest.raises(SuperFaceError, match="gather"):
        RegionWindows.read(tmp_path, True, "cpu")


def test_the_released_painter_lies_between_the_one_before_and_the_trained_one(tmp_path):
    import tiny_trainings

    data, out = tiny_trainings.Data(tmp_path), tmp_path / "out"
    tiny_trainings.painter(data, out, None)
    start, trained, released = (
        load_file(folder / "model.safetensors")
        for folder in (tmp_path / "small teacher", out / "checkpoint" / "averaged", out / "final")
    )
    for name, weight in released.items():
        expected = torch.lerp(start[name].float(), trained[name].float(), 0.75)
        assert torch.allclose(weight.float(), expected, atol=2e-3), name
    moved = [name for name in start if not torch.equal(start[name].float(), trained[name].float())]
    assert moved
    assert all(name.startswith("mouth_painter") for name in moved)


def test_a_lip_reader_sees_the_same_mouth_in_a_painters_window(astronaut):
    picture = torch.from_numpy(astronaut).permute(2, 0, 1)[None].float() / 255
    face = FaceModel.default().mean[None] * 0.4
    whole = mouth_pictures(picture, face)
    assert (pictures_in_windows(RegionWindow.around(face, MOUTH).cut(picture)) - whole).abs().mean() < 0.02
    assert (whole - whole.roll(2, dims=1)).abs().mean() > 0.02


def test_an_open_mouth_reads_otherwise_than_a_closed_one():
    distance = LipReadingDistance(embedded_lip_reader())
    closed = torch.full((2, 3, *MOUTH.size), 0.6)
    closed[:, :, 62:66, 60:132] = 0.4
    opened = closed.clone()
    opened[:, :, 50:80, 70:122] = 0.1
    opened[1] += 0.1 * torch.rand(3, *MOUTH.size)  # true mouths differ
    opened.requires_grad_()
    assert distance(opened, opened) == 0
    apart = distance(closed, opened)
    apart.backward()
    assert apart > 0.1
    assert opened.grad is not None
    assert opened.grad.abs().sum() > 0
