"""Each filter drops what it is for, and keeps what it is not for."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("yaml")

from superface_hf.data.prepare import duplicates
from superface_hf.data.prepare import quality_filters as quality
from superface_hf.data.prepare.duplicates import DuplicateIndex
from superface_hf.data.prepare.quality_filters import CHECKS, QualityThresholds, judge
from superface_hf.data.prepare.shots import CutDetector, face_jumps
from superface_hf.models.sync_expert import SuperFaceSyncExpertConfig, SuperFaceSyncExpertModel
from superface_hf.motion import Motion
from superface_hf.motion.rotations import rotation_matrix


def moving(face_model, frames: int = 40, seed: int = 0) -> Motion:
    """A head that turns and a mouth that opens, smoothly and by chance."""
    random = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / 25
    waves = sum(
        random.normal(size=3) * np.sin(random.uniform(2, 12) * time + random.uniform(0, 6, 3)) for _ in range(4)
    )
    mouth = np.zeros((frames, 30))
    mouth[:, 0] = 2 * waves[:, 0]
    return replace(Motion.neutral(frames, 25.0), rotation=0.1 * waves, mouth=mouth)


def textured(seed: int = 0) -> np.ndarray:
    """A picture with coarse and fine structure, (96, 96, 3) uint8."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 255, (6, 6, 3), np.uint8)).resize((96, 96), Image.Resampling.BICUBIC)
    return (np.asarray(coarse) * 0.8 + random.integers(0, 50, (96, 96, 3))).astype(np.uint8)


def recoded(picture: np.ndarray) -> np.ndarray:
    """Smaller, brighter, and badly encoded."""
    buffer = io.BytesIO()
    small = (
        Image.fromarray(picture).resize((64, 64), Image.Resampling.BILINEAR).point(lambda value: min(255, value + 12))
    )
    small.save(buffer, "JPEG", quality=50)
    return np.asarray(Image.open(buffer))


class TestThresholds:
    def test_every_check_has_a_threshold_and_every_threshold_a_check(self):
        assert {check.threshold for check in CHECKS} == set(QualityThresholds.__dataclass_fields__)

    def test_the_first_failed_check_is_told_with_value_and_limit(self):
        drop = judge({"seconds": 3.0, "sharpness": 4.0, "turn": 2.0}, QualityThresholds())
        assert (drop.filter, drop.value, drop.limit) == ("pose", 2.0, 1.1)

    def test_what_was_not_measured_or_has_no_limit_is_not_judged(self):
        assert judge({}, QualityThresholds()) is None
        assert judge({"sync_offset": -0.5, "sync_confidence": 0.0}, QualityThresholds()) is None
        assert judge({"sync_offset": -0.5}, QualityThresholds(max_sync_offset=0.2)).filter == "sync offset"

    @pytest.mark.parametrize("wrong", [{"min_seen": 1.5}, {"min_sharpness": -1.0}, {"max_turn": float("nan")}])
    def test_impossible_thresholds_are_refused_by_name(self, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            QualityThresholds(**wrong)


class TestMeasures:
    def test_a_blurred_face_is_less_sharp_however_large_its_picture(self, face_points):
        picture, points = textured(), face_points(48, 48, 25)
        blurred = np.asarray(Image.fromarray(picture).resize((24, 24), Image.Resampling.BOX).resize((96, 96)))
        enlarged = np.asarray(Image.fromarray(blurred).resize((384, 384), Image.Resampling.BICUBIC))
        sharp = quality.sharpness(picture, points)
        assert max(quality.sharpness(blurred, points), quality.sharpness(enlarged, 4 * points)) < sharp / 5

    def test_a_face_that_leaves_the_picture_is_still_measured(self, face_points):
        assert np.isfinite(quality.sharpness(textured(), face_points(120, -20, 25)))

    def test_turns_count_to_the_side_and_up_but_not_rolls(self):
        turned = np.array([[0.0, 0.8, 0.0]] * 20)
        rolled = np.array([[0.0, 0.0, 0.8]] * 20)
        assert quality.furthest_turn(turned) == pytest.approx(0.8)
        assert quality.furthest_turn(rolled) == 0
        assert quality.turn_range(turned) == 0
        assert quality.turn_range(np.linspace(0, [0, 1, 0], 101)) == pytest.approx(0.9)

    def test_the_identity_drifts_when_the_person_changes(self, face_model):
        motion = moving(face_model)
        one = face_model.animate(quality_shape(face_model, 0), motion).numpy()
        other = face_model.animate(quality_shape(face_model, 1), motion).numpy()
        same = quality.identity_drift(one, 25.0)
        assert same < QualityThresholds().max_identity_drift / 2
        assert quality.identity_drift(np.concatenate([one[:20], other[20:]]), 25.0) > 3 * same

    def test_a_small_face_in_the_background_is_no_second_speaker(self):
        assert quality.other_faces([[100.0, 30.0], [100.0]]) == 0
        assert quality.other_faces([[100.0, 80.0], [100.0]]) == 0.5
        assert quality.other_faces([]) == 0

    def test_faces_jump_where_another_one_is_followed(self, face_points):
        track = np.stack([face_points(50 + index, 60, 30) for index in range(10)])
        track[6:] += [80, 0, 0]
        found = np.ones(10, bool)
        assert face_jumps(track, found).tolist() == [6]
        found[5] = False  # what lies between is not known
        assert face_jumps(track, found).tolist() == []


def quality_shape(face_model, seed: int):
    """A person's neutral face."""
    from superface_hf.face_model.linear import FaceShape

    weights = torch.randn(len(face_model.identity_basis), generator=torch.Generator().manual_seed(seed))
    return FaceShape(face_model.mean + torch.einsum("k,kpc->pc", weights, face_model.identity_basis))


class TestCuts:
    def test_a_new_scene_is_a_cut_and_a_moving_one_is_none(self):
        is_cut = CutDetector(0.12)
        scene, other = textured(1), textured(2)
        shots = [np.roll(scene, 3 * step, axis=1) for step in range(10)] + [
            np.roll(other, step, 1) for step in range(10)
        ]
        assert [index for index, frame in zip(count(), shots, strict=False) if is_cut(frame)] == [10]

    def test_a_shaking_camera_is_no_row_of_cuts(self):
        is_cut = CutDetector(0.12)
        random = np.random.default_rng(0)
        frames = [random.integers(0, 255, (64, 64, 3), np.uint8) for _ in range(20)]
        assert sum(is_cut(np.kron(frame[:8, :8], np.ones((8, 8, 1), np.uint8))) for frame in frames) <= 1


class TestDuplicates:
    def looks(self, face_model, seed: int, place: int, part: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        motion = moving(face_model, 120, seed)[part]
        hashes = np.stack([duplicates.perceptual_hash(textured(place)) for _ in range(4)])
        return hashes, duplicates.movement(motion, np.ones(len(motion), bool))

    def test_hashes_outlive_another_codec_and_tell_pictures_apart(self):
        first = duplicates.perceptual_hash(textured(0))
        again, other = duplicates.perceptual_hash(recoded(textured(0))), duplicates.perceptual_hash(textured(1))
        apart = [int(np.unpackbits(first ^ hashed).sum()) for hashed in (again, other)]
        assert apart[0] <= duplicates.HASH_TOLERANCE < apart[1]

    def test_a_copy_is_found_even_cut(self, face_model):
        index = DuplicateIndex()
        index.add("first", *self.looks(face_model, 0, 0))
        index.add("second", *self.looks(face_model, 1, 1))
        agreement, name = index.find(*self.looks(face_model, 0, 0, slice(20, 100)))
        assert (name, agreement > 0.99) == ("first", True)

    def test_another_take_in_the_same_place_is_no_copy(self, face_model):
        index = DuplicateIndex()
        index.add("first", *self.looks(face_model, 0, 0))
        assert index.find(*self.looks(face_model, 2, 0))[0] < QualityThresholds().max_duplicate

    def test_the_same_movement_of_somebody_else_is_no_copy(self, face_model):
        index = DuplicateIndex()
        index.add("first", *self.looks(face_model, 0, 0))
        assert index.find(*self.looks(face_model, 0, 1)) == (0.0, "")

    def test_a_face_that_does_not_move_equals_nothing(self):
        still = np.zeros((50, 3), np.float16)
        assert duplicates.same_movement(still, still) == 0


def test_sound_too_short_to_judge_is_not_judged():
    expert = SuperFaceSyncExpertModel(SuperFaceSyncExpertConfig()).eval()
    samples = np.zeros(8000, np.float32)
    assert quality.sync(samples, np.zeros((12, 30), np.float32), 25.0, expert) == {}
    long = np.random.default_rng(0).normal(size=64000).astype(np.float32) * 0.1
    assert set(quality.sync(long, np.zeros((100, 30), np.float32), 25.0, expert)) == {"sync_offset", "sync_confidence"}


def test_face_sides_are_the_longer_ones(face_points):
    points = np.stack([face_points(0, 0, 10), face_points(5, 5, 20)])
    turned = points @ rotation_matrix(np.array([[0.0, 0.0, np.pi / 2]])).transpose(0, 2, 1)
    assert quality.face_sides(points)[1] == pytest.approx(2 * quality.face_sides(points)[0], rel=1e-4)
    assert quality.face_sides(turned) == pytest.approx(quality.face_sides(points), rel=1e-4)
