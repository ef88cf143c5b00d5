"""The mouth painter's training alone: what is gathered for it, and what it promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("accelerate")

from superface_hf import SuperFaceError
from superface_hf.data.mouths import gather
from superface_hf.data.mouths.windows import NAMES, MouthBatch, MouthWindows
from superface_hf.face_model.linear import FaceModel
from superface_hf.face_model.topology import LIPS_OUTER
from superface_hf.models.painters.painter import draw_region, region_shape
from superface_hf.models.painters.windows import MOUTH, RegionWindow
from superface_hf.motion import Motion


@pytest.fixture(scope="module")
def gathered(small_teacher, astronaut) -> dict[str, np.ndarray]:
    """Windows of a clip in which the portrait slides a little."""
    frames = [np.roll(astronaut, step, axis=1) for step in range(4)]
    faces = gather.embedded_tracker().follow(iter(frames))
    clip = gather.SeenClip(frames, np.stack([face.landmarks for face in faces if face]), 25.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gather, "TARGETS", 2)
        patch.setattr(gather, "SHUT", 1)
        return gather.mouths_of(clip, small_teacher)


@pytest.mark.e2e
def test_the_true_mouth_lies_where_the_rendered_one_does(gathered):
    assert set(gathered) == set(NAMES)
    rows = 2 * 2  # two sources with two targets each
    assert all(len(values) == rows for values in gathered.values())
    assert gathered["target"].shape == (rows, 3, *MOUTH.size)
    apart = np.abs(gathered["before"].astype(int) - gathered["target"])
    beside = np.abs(gathered["before"].astype(int) - np.roll(gathered["target"], 12, axis=-1))
    assert apart.mean() < 0.7 * beside.mean()


@pytest.mark.e2e
def test_the_mouth_is_asked_for_and_its_surroundings_are_not(gathered):
    asked = gathered["asked"][:, 0]
    assert (asked[:, 60:68, 90:102] > 250).all()
    assert (asked[:, :8] == 0).all()
    assert 0.05 < (asked > 128).mean() < 0.5


def test_sources_are_the_most_shut_and_the_most_open_mouth():
    landmarks = np.zeros((12, 478, 3), np.float32)
    landmarks[:, 263, 0] = 100
    openings = np.random.default_rng(0).permutation(12)
    landmarks[:, 14, 1] = openings
    clip = gather.SeenClip([np.zeros((8, 8, 3), np.uint8)] * 12, landmarks, 25.0)
    pairs = list(clip.pairs())
    assert [openings[source] for source, _ in pairs] == [0, 11]
    for source, targets in pairs:
        assert source not in targets
        assert len(set(targets)) == gather.TARGETS
        assert openings[targets].max() >= 10


def test_clips_that_are_gathered_first_are_varied():
    rows = [{"split": "train", "repo": name} for name in "aaabbc"] + [{"split": "val", "repo": "d"}]
    assert "".join(row["repo"] for row in gather.by_variety(rows)) == "dabcaba"


def test_the_asked_part_holds_the_lips():
    mouth = np.zeros((478, 2), np.float32)
    angles = np.linspace(0, 2 * np.pi, len(LIPS_OUTER), endpoint=False)
    mouth[LIPS_OUTER] = np.stack([96 + 40 * np.cos(angles), 64 + 15 * np.sin(angles)], axis=1)
    asked = gather.asked_part(mouth)
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
            MouthBatch(picture, picture, drawn, torch.stack((shape, shape), 1), picture, picture, picture[:, :1])
        )
    both = batches[0].mirrored(torch.tensor([True]))
    for name in NAMES:
        assert torch.allclose(getattr(both, name), getattr(batches[1], name), atol=0.03), name
        assert torch.equal(getattr(batches[0].mirrored(torch.tensor([False])), name), getattr(batches[0], name))
    assert not torch.allclose(batches[0].shapes, batches[1].shapes, atol=0.03)


def test_light_changes_colours_together_and_leaves_the_rest():
    one = torch.ones(2, 3, 4, 6)
    batch = MouthBatch(one, one, one, torch.ones(2, 2, 20, 3), one, one, one[:, :1])
    tinted = batch.tinted(0.5)
    assert torch.equal(tinted.shown, tinted.target)
    assert not torch.equal(tinted.shown[0], tinted.shown[1])
    assert 0.5 <= tinted.shown.min() < tinted.shown.max() <= 1
    assert tinted.asked is batch.asked
    assert tinted.drawn is batch.drawn


def test_a_folder_without_windows_is_named(tmp_path):
    with pytest.raises(SuperFaceError, match="gather"):
        MouthWindows.read(tmp_path, "cpu")


def test_the_released_painter_lies_between_the_one_before_and_the_trained_one(tmp_path):
    import tiny_trainings

    data, out = tiny_trainings.Data(tmp_path), tmp_path / "out"
    tiny_trainings.mouth_painter(data, out, None)
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
