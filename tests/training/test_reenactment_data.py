"""Pairs for the teacher: reproducible, driven as at inference, in twos where asked for, from memory or from a stream."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("datasets")

from superface_hf import FaceModel, Motion
from superface_hf.data.jpeg import encode_jpeg
from superface_hf.data.pairs.datasets import ReenactmentPairs, StreamedPairs
from superface_hf.data.pairs.drawing import Pair, PairDrawer, PairSampling
from superface_hf.data.pairs.footage import Footage, person_weights
from superface_hf.data.pairs.masking import MaskingConfig
from superface_hf.data.prepared_set import ClipStream, PreparedClip, write_clips
from superface_hf.errors import SuperFaceError

SIDE, FRAMES = 96, 10
PLAIN = PairSampling(image_size=64, temporal=0.0, landmark_noise=0.0, flip=0.0)
UNMASKED = MaskingConfig(share=0.0)


def made_up_clip(number: int, person: str = "") -> PreparedClip:
    """A made-up face that speaks, blinks and slides over a coloured slope."""
    model, rng = FaceModel.default(), np.random.default_rng(number)
    rest = Motion.neutral(FRAMES, 25.0)
    still = {name: rng.normal(size=getattr(rest, name).shape) for name in ("mouth", "eyes", "brows")}
    slide = np.stack([np.linspace(-0.1, 0.1, FRAMES), np.zeros(FRAMES)], 1)
    motion = Motion(rest.rotation, slide, 0.4 * rest.scale, **still, gaze=rest.gaze, fps=25.0)
    shape, _ = model.fit(model.mean[None] * 0.4, 25.0)
    landmarks = (model.animate(shape, motion).numpy() + [1, 1, 0]) * SIDE / 2
    slope = np.linspace(0, 200, SIDE)[:, None] + np.linspace(0, 50, SIDE)[None]
    tint = rng.uniform(0.5, 1.0, size=3)
    pictures = [(np.roll(slope, 2 * step, axis=1)[..., None] * tint).astype(np.uint8) for step in range(FRAMES)]
    return PreparedClip(
        name=f"train_{number:03d}",
        split="train",
        fps=25.0,
        size=(SIDE, SIDE),
        landmarks=landmarks.astype(np.float32),
        blendshapes=None,
        found=np.ones(FRAMES, bool),
        jpeg_index=np.arange(FRAMES),
        jpegs=[encode_jpeg(picture, 95) for picture in pictures],
        person=person,
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    for shard in range(2):
        write_clips(folder, "train", [made_up_clip(2 * shard + place) for place in range(2)], shard)
    return folder


def pairs(prepared: Path, sampling: PairSampling = PLAIN, masking: MaskingConfig = UNMASKED) -> ReenactmentPairs:
    return ReenactmentPairs(prepared, 60, seed=3, sampling=sampling, masking=masking)


def same(first: Pair, second: Pair) -> bool:
    return all(torch.equal(value, getattr(second, name)) for name, value in vars(first).items())


def test_pairs_are_reproducible_and_as_the_contract_says(prepared):
    sampling = PairSampling(image_size=64)
    first, again = (ReenactmentPairs(prepared, 10, seed=3, sampling=sampling)[7] for _ in range(2))
    assert same(first, again)
    assert first.source.shape == first.target.shape == (3, 64, 64)
    assert first.source.dtype == torch.uint8
    assert first.source_landmarks.shape == first.target_landmarks.shape == (478, 3)
    assert first.target_landmarks.dtype == torch.float32
    assert first.target_landmarks[:, :2].abs().max() <= 1.0
    assert first.known.shape == (1, 8, 8)
    assert first.sharp.dtype == first.follows.dtype == torch.bool


def test_the_driving_mesh_is_the_sources_own_face_in_motion(prepared):
    """Fitted meshes keep the source's face: an odd target cannot change its shape, its own landmarks can."""
    clip = made_up_clip(0)
    clip.landmarks[1:, 4, :2] += 6.0  # the tip of the nose, as no motion can have it
    footage = Footage(clip)
    drawer = PairDrawer(PLAIN, UNMASKED)
    moved = drawer._moved(footage, 0, 5, None)
    rigid = footage.mesh(5)[4, :2] - footage.mesh(0)[4, :2]
    assert np.abs(moved[4, :2] - footage.mesh(0)[4, :2]).max() < 0.6 * np.abs(rigid).max()
    lips = [13, 14, 61, 291]
    assert np.abs(moved[lips] - footage.mesh(5)[lips]).mean() < 0.02


def test_unfitted_pairs_are_driven_by_the_targets_landmarks(prepared):
    raw = pairs(prepared, PairSampling(image_size=64, fitted=0.0, temporal=0.0, landmark_noise=0.0, flip=0.0))[2]
    fitted = pairs(prepared)[2]
    assert torch.equal(raw.source_landmarks, fitted.source_landmarks)
    difference = (raw.target_landmarks - fitted.target_landmarks).abs()
    assert 0 < difference.max() < 0.1


def test_a_following_item_shares_all_but_its_target(prepared):
    sampling = PairSampling(image_size=64, temporal=1.0)
    data = pairs(prepared, sampling, MaskingConfig(share=0.5))
    for number in range(0, 20, 2):
        first, second = data[number], data[number + 1]
        assert not first.follows
        assert second.follows
        assert torch.equal(first.source, second.source)
        assert torch.equal(first.source_landmarks, second.source_landmarks)
        assert not torch.equal(first.target_landmarks, second.target_landmarks)


def test_the_temporal_share_says_how_many_follow(prepared):
    data = pairs(prepared, PairSampling(image_size=64, temporal=0.5))
    following = [bool(data[number].follows) for number in range(60)]
    assert not any(following[::2])
    assert 8 <= sum(following[1::2]) <= 22


def test_replaced_regions_are_unknown_unless_a_picture_was_composed(prepared):
    composed = pairs(prepared, PLAIN, MaskingConfig(share=1.0, pictured=1.0))
    unknown = pairs(prepared, PLAIN, MaskingConfig(share=1.0, pictured=0.0))
    assert all((composed[number].known == 1).all() for number in range(10))
    for number in range(10):
        known = unknown[number].known
        assert known.min() < 0.2
        assert known.max() == 1


def test_mirrored_pairs_mirror_everything(prepared):
    masking = MaskingConfig(share=1.0, pictured=0.0)
    plain = pairs(prepared, PLAIN, masking)[4]
    flipped = pairs(prepared, PairSampling(image_size=64, temporal=0.0, landmark_noise=0.0, flip=1.0), masking)[4]
    mirror = FaceModel.default().mirror
    for name in ("source", "target", "known"):
        assert torch.equal(getattr(flipped, name), getattr(plain, name).flip(-1))
    expected = plain.target_landmarks[mirror] * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(flipped.target_landmarks, expected, atol=1e-6)


def test_people_with_many_clips_weigh_less_each():
    clips = [Footage(made_up_clip(number, person)) for number, person in enumerate(("a", "a", "a", "a", "b"))]
    assert np.allclose(person_weights(clips, 0.0), 0.2)
    weights = person_weights(clips, 1.0)
    assert weights[-1] == pytest.approx(0.5)
    assert weights.sum() == pytest.approx(1)
    unnamed = [Footage(made_up_clip(number)) for number in range(3)]
    assert np.allclose(person_weights(unnamed, 1.0), 1 / 3)


def streamed(prepared: Path, renewal: int = 4) -> StreamedPairs:
    stream = ClipStream(prepared, "train", seed=1, buffer=2)
    sampling = PairSampling(image_size=64, temporal=0.5)
    return StreamedPairs(stream, 5, sampling, masking=MaskingConfig(share=0.5), pool=2, renewal=renewal)


@pytest.mark.parametrize("given", [0, 1, 6, 11, 16])
def test_a_stream_goes_on_exactly_where_it_stopped(prepared, given):
    whole = list(islice(iter(streamed(prepared)), given + 8))
    stopped = streamed(prepared)
    before = list(islice(iter(stopped), given))
    state = json.loads(json.dumps(stopped.state_dict()))
    resumed = streamed(prepared)
    resumed.load_state_dict(state)
    after = list(islice(iter(resumed), 8))
    assert all(same(a, b) for a, b in zip(whole, before + after, strict=True))


def test_a_stream_shows_all_clips_in_turn(prepared):
    data = streamed(prepared, renewal=2)
    seen: Counter[str] = Counter()
    for _ in islice(iter(data), 24):
        seen.update({footage.clip.name for footage in data._pooled})
        assert len(data._pooled) == 2
    assert len(seen) == 4


class Short:
    """A stream of which one clip in two has too few pictures."""

    def __init__(self) -> None:
        self.number = 0

    def __iter__(self) -> Iterator[PreparedClip]:
        while True:
            self.number += 1
            clip = made_up_clip(self.number)
            if self.number % 2:
                clip.jpegs[2:] = []
            yield clip

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.number = state["number"]


def test_clips_with_too_few_pictures_are_passed_over():
    data = StreamedPairs(Short(), sampling=PLAIN, masking=UNMASKED, pool=2, renewal=2)
    for _ in islice(iter(data), 6):
        assert all(len(footage) == FRAMES for footage in data._pooled)


@pytest.mark.parametrize(
    "changes", [{"temporal": 1.5}, {"fitted": -0.1}, {"image_size": 100}, {"landmark_noise": 1.0}, {"stills": 2}]
)
def test_impossible_samplings_are_refused_by_name(changes):
    with pytest.raises(SuperFaceError, match=next(iter(changes))):
        PairSampling(**changes)


def test_stills_without_still_pairs_are_refused(prepared):
    with pytest.raises(SuperFaceError, match="still"):
        ReenactmentPairs(prepared, 10, sampling=PairSampling(stills=0.1))
