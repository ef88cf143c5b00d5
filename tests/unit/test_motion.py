"""What Motion promises."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from superface_hf.errors import MediaError, MotionError, UnknownNameError
from superface_hf.motion import REGIONS, Motion
from superface_hf.motion.arkit import ARKIT_NAMES, arkit_index
from superface_hf.motion.bundled import BUNDLED_MOTIONS, bundled_motion
from superface_hf.motion.rotations import rotation_matrix, rotation_vector

FPS = 25.0


def random_motion(frames: int = 20, seed: int = 0) -> Motion:
    generator = np.random.default_rng(seed)
    base = Motion.neutral(frames, FPS)
    changes = {
        field.name: getattr(base, field.name) + 0.2 * generator.normal(size=getattr(base, field.name).shape)
        for field in fields(base)
        if field.name not in ("fps", "scale")
    }
    return replace(base, scale=np.exp(0.1 * generator.normal(size=frames)), **changes)


def arrays(motion: Motion) -> dict[str, np.ndarray]:
    return {field.name: getattr(motion, field.name) for field in fields(motion) if field.name != "fps"}


def assert_same(first: Motion, second: Motion, tolerance: float = 1e-5) -> None:
    assert first.fps == second.fps
    for name, array in arrays(first).items():
        np.testing.assert_allclose(array, getattr(second, name), atol=tolerance, err_msg=name)


def test_a_motion_is_immutable():
    motion = random_motion()
    with pytest.raises(ValueError, match="read-only"):
        motion.mouth[0, 0] = 1
    with pytest.raises(AttributeError):
        motion.fps = 30  # type: ignore[misc]


def test_changing_the_array_a_motion_was_made_from_does_not_change_it():
    scale = np.ones(3)
    motion = replace(Motion.neutral(3, FPS), scale=scale)
    scale[:] = 5
    assert motion.scale.max() == 1


@pytest.mark.parametrize(
    "change",
    [
        {"mouth": np.full((20, 30), np.nan)},
        {"rotation": np.full((20, 3), np.inf)},
        {"rotation": np.zeros((20, 2))},
        {"translation": np.zeros((19, 2))},
        {"scale": np.zeros(20)},
        {"eyes": np.zeros(20)},
        {"eyes": "closed"},
        {"fps": 0.0},
        {"fps": float("nan")},
    ],
)
def test_wrong_values_are_refused(change):
    with pytest.raises(MotionError):
        replace(random_motion(), **change)


def test_slices_and_joins_give_back_the_whole():
    motion = random_motion()
    assert len(motion[3]) == 1
    assert len(motion[-1]) == 1
    assert motion.seconds == pytest.approx(0.8)
    assert_same(Motion.concatenate([motion[:7], motion[7:]]), motion)
    with pytest.raises(IndexError):
        motion[20]
    with pytest.raises(MotionError):
        motion[5:5]


def test_motions_of_different_rates_do_not_join():
    with pytest.raises(MotionError, match="resample"):
        Motion.concatenate([random_motion(), replace(random_motion(), fps=30.0)])


def test_resampling_keeps_the_duration_and_the_frames_that_both_rates_share():
    motion = random_motion(50)
    double = motion.resample(50)
    assert double.seconds == pytest.approx(motion.seconds)
    assert_same(replace(double[::2], fps=FPS), motion)


def test_resampling_turns_the_head_along_the_shortest_way():
    turns = np.array([[0, 0, 3.0], [0, 0, -3.0]])
    half = replace(Motion.neutral(2, FPS), rotation=turns).resample(50).rotation[1]
    assert abs(half[2]) == pytest.approx(np.pi, abs=1e-3)


def test_smoothing_a_still_face_takes_out_most_of_the_jitter():
    generator = np.random.default_rng(0)
    base = Motion.neutral(100, FPS)
    noisy = replace(
        base,
        rotation=base.rotation + 0.01 * generator.normal(size=base.rotation.shape),
        mouth=base.mouth + 0.05 * generator.normal(size=base.mouth.shape),
    )
    calm = noisy.smooth()
    for name in ("rotation", "mouth"):
        before, after = np.diff(getattr(noisy, name), axis=0).std(), np.diff(getattr(calm, name), axis=0).std()
        assert after < 0.25 * before, name


def test_smoothing_keeps_blinks_and_lip_closures_where_and_how_deep_they_are():
    for name, shape in (("blink", "eyeBlinkLeft"), ("speak", "jawOpen")):
        motion = bundled_motion(name)
        before, after = (m.to_arkit()[:, arkit_index(shape)] for m in (motion, motion.smooth()))
        assert after.max() > 0.85 * before.max()
        assert abs(int(after.argmax()) - int(before.argmax())) <= 1
        assert np.corrcoef(before, after)[0, 1] > 0.97


def test_smoothing_does_not_move_a_turning_head_in_time():
    motion = bundled_motion("look_around")
    before, after = motion.rotation[:, 1], motion.smooth().rotation[:, 1]
    shifted = [np.corrcoef(np.roll(after, shift)[5:-5], before[5:-5])[0, 1] for shift in (-1, 0, 1)]
    assert np.argmax(shifted) == 1
    assert np.abs(after - before).max() < 0.04


def test_masked_regions_rest_and_the_others_stay():
    motion = random_motion()
    masked = motion.mask(["mouth", "head"])
    assert (masked.mouth == 0).all()
    assert (masked.rotation == motion.rotation[0]).all()
    np.testing.assert_array_equal(masked.eyes, motion.eyes)


def test_replacing_takes_one_region_and_nothing_else():
    motion, other = random_motion(), random_motion(seed=1)
    mixed = motion.replace({"mouth": other, "gaze": other[4]})
    np.testing.assert_array_equal(mixed.mouth, other.mouth)
    assert (mixed.gaze == other.gaze[4]).all()
    np.testing.assert_array_equal(mixed.eyes, motion.eyes)
    np.testing.assert_array_equal(mixed.rotation, motion.rotation)
    with pytest.raises(MotionError, match="frames"):
        motion.replace({"mouth": other[:5]})


def test_blending_goes_from_one_motion_to_the_other():
    motion, other = random_motion(), random_motion(seed=1)
    assert_same(motion.blend(other, 0), motion)
    assert_same(motion.blend(other, 1), other)
    half = motion.blend(other, 0.5, ["brows"])
    np.testing.assert_allclose(half.brows, (motion.brows + other.brows) / 2, atol=1e-6)
    np.testing.assert_array_equal(half.mouth, motion.mouth)


def test_an_unknown_region_is_named_with_what_was_meant():
    for call in (
        lambda m: m.mask(["mouht"]),
        lambda m: m.replace({"mouht": m}),
        lambda m: m.blend(m, 0.5, ["mouht"]),
    ):
        with pytest.raises(UnknownNameError, match=r"mouht.*mouth"):
            call(random_motion())


def test_retargeting_starts_from_the_source_and_adds_only_the_changes():
    motion, source = random_motion(), random_motion(1, seed=2)
    moved = motion.relative_to(motion[0], source)
    assert_same(moved[0], source)
    np.testing.assert_allclose(moved.mouth - source.mouth, motion.mouth - motion.mouth[0], atol=1e-5)
    np.testing.assert_allclose(moved.scale / source.scale, motion.scale / motion.scale[0], rtol=1e-5)
    growth = source.scale / motion.scale[0]
    change = (motion.translation - motion.translation[0]) * growth
    np.testing.assert_allclose(moved.translation - source.translation, change, atol=1e-5)


def test_retargeting_to_oneself_changes_nothing():
    motion = random_motion()
    assert_same(motion.relative_to(motion[0], motion[0]), motion)


def test_a_nod_stays_a_nod_on_a_tilted_head():
    nod = bundled_motion("nod")
    tilted = replace(Motion.neutral(1, FPS), rotation=[[0, 0, 0.5]])
    moved = nod.relative_to(nod[0], tilted)
    own = rotation_vector(rotation_matrix(tilted.rotation).swapaxes(1, 2) @ rotation_matrix(moved.rotation))
    np.testing.assert_allclose(own, nod.rotation, atol=1e-5)


def test_a_saved_motion_loads_as_it_was(tmp_path: Path):
    motion = replace(random_motion(), fps=29.97)
    motion.save(tmp_path / "motion.safetensors")
    assert_same(Motion.load(tmp_path / "motion.safetensors"), motion, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["motion.safetensors"]


def test_a_wrong_file_gives_one_clear_error(tmp_path: Path):
    with pytest.raises(MediaError):
        Motion.load(tmp_path / "missing.safetensors")
    (tmp_path / "text.safetensors").write_text("not a motion")
    with pytest.raises(MediaError):
        Motion.load(tmp_path / "text.safetensors")
    (tmp_path / "empty.safetensors").touch()
    with pytest.raises(MediaError):
        Motion.load(tmp_path / "empty.safetensors")
    save_file({"other": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(MotionError, match="no motion"):
        Motion.load(tmp_path / "other.safetensors")
    with pytest.raises(MediaError):
        random_motion().save(tmp_path / "no" / "folder.safetensors")


def test_no_blendshape_means_a_neutral_face():
    neutral = Motion.from_arkit(np.zeros((2, len(ARKIT_NAMES))), FPS)
    assert_same(neutral, Motion.neutral(2, FPS))
    assert neutral.to_arkit().max() == 0


@pytest.mark.parametrize(
    "name",
    ["eyeBlinkLeft", "eyeBlinkRight", "jawOpen", "mouthSmileLeft", "mouthFunnel", "browInnerUp", "browDownLeft",
     "eyeLookOutLeft", "eyeLookDownRight", "cheekPuff", "noseSneerLeft"],
)  # fmt: skip
@pytest.mark.parametrize("value", [0.4, 1.0])
def test_a_blendshape_comes_back_as_it_was_set(name: str, value: float):
    scores = Motion.neutral(1, FPS).edit({name: value}).to_arkit()[0]
    assert scores[arkit_index(name)] == pytest.approx(value, abs=0.1)
    assert scores.argmax() == arkit_index(name)


def test_edits_add_to_every_frame_and_touch_only_their_region():
    motion = random_motion()
    edited = motion.edit({"jawOpen": 0.4})
    np.testing.assert_allclose(np.ptp(edited.mouth - motion.mouth, axis=0), 0, atol=1e-5)
    for region in ("eyes", "brows", "gaze", "rotation"):
        np.testing.assert_array_equal(getattr(edited, region), getattr(motion, region))


def test_an_unknown_blendshape_is_named_with_what_was_meant():
    with pytest.raises(UnknownNameError, match="jawOpen"):
        random_motion().edit({"jawopen": 0.3})
    with pytest.raises(UnknownNameError, match="eyeBlinkLeft"):
        random_motion().edit({"blinkLeft": 0.3})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2.5, -1.5])
def test_an_edit_out_of_range_is_refused(value: float):
    with pytest.raises(MotionError, match="jawOpen"):
        random_motion().edit({"jawOpen": value})


def test_scores_of_another_shape_are_refused():
    with pytest.raises(MotionError, match="52"):
        Motion.from_arkit(np.zeros((3, 51)), FPS)


@pytest.mark.parametrize("name", BUNDLED_MOTIONS)
def test_bundled_motions_start_and_end_at_a_neutral_face_and_move_in_between(name: str):
    motion = bundled_motion(name)
    assert 2 <= motion.seconds <= 4
    assert motion.fps == FPS
    for frame in (motion[0], motion[-1]):
        assert_same(frame, Motion.neutral(1, FPS), 0.02)
    assert max(np.abs(array - array[0]).max() for array in arrays(motion).values()) > 0.2


def test_the_bundled_blink_closes_both_eyes_and_the_speech_closes_the_lips():
    blink = bundled_motion("blink").to_arkit()
    assert blink[:, arkit_index("eyeBlinkLeft")].max() > 0.95
    jaw = bundled_motion("speak").to_arkit()[:, arkit_index("jawOpen")]
    assert jaw.max() > 0.3
    assert (np.diff((jaw < 0.05).astype(int)) == 1).sum() >= 3


def test_an_unknown_bundled_motion_is_named_with_what_was_meant():
    with pytest.raises(UnknownNameError, match="look_around"):
        bundled_motion("lookaround")


def test_region_names_are_the_five_of_the_design():
    assert REGIONS == ("mouth", "eyes", "brows", "gaze", "head")
