"""What people see when a face speaks and a head turns: expression slopes, outlines, and the wall behind, on known answers."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import ScriptedTracker
from PIL import Image

from superface_hf import Motion
from superface_hf.animation.portrait import find_portrait
from superface_hf.errors import NoFaceError, SuperFaceError
from superface_hf.evaluation.data import NamedPortrait, turned_pair, turned_pairs
from superface_hf.evaluation.expression import ExpressionChanges, Landmarker, find_landmarker
from superface_hf.evaluation.scoring import FrameScorer
from superface_hf.evaluation.straightness import DEPTH, Wall, turned, unchanged, wall_figures, wall_is_seen
from superface_hf.evaluation.turns import TurnResults, clip_figures
from superface_hf.evaluation.verdict import verdicts
from superface_hf.face_model.linear import FaceShape
from superface_hf.layers.portrait import cut_out, to_uint8
from superface_hf.media import write_mp4
from superface_hf.metrics.outline import outline_overlap
from superface_hf.metrics.slopes import MEASURES, correlation, expression_measures, slope
from superface_hf.metrics.straightness import REACH, Line, bend, draw_lines
from superface_hf.models.tracker.base import Face
from superface_hf.motion.rotations import rotation_matrix

SIZE = 192
EXPRESSIONS = {
    "opening": {"jawOpen": 0.8},
    "width": {"mouthStretchLeft": 0.8, "mouthStretchRight": 0.8},
    "lips": {"mouthRollUpper": 0.8, "mouthRollLower": 0.8},
    "lids": {"eyeBlinkLeft": 0.8, "eyeBlinkRight": 0.8},
    "brows": {"browInnerUp": 0.8, "browOuterUpLeft": 0.8, "browOuterUpRight": 0.8},
}
SHARES = np.linspace(0, 1, 6)


def acted(face_model, blendshapes: dict[str, float], strength: float, turn: float = 0.25) -> np.ndarray:
    """(6, 478, 3) pixels: an expression that grows, while the head turns, goes to the side and comes nearer."""
    rest = Motion.neutral(1, 25)
    frames = [rest.edit({name: strength * share * value for name, value in blendshapes.items()}) for share in SHARES]
    motion = replace(
        Motion.concatenate(frames),
        rotation=np.stack([0 * SHARES, turn * SHARES, 0 * SHARES], axis=1),
        scale=40 + 10 * SHARES,
        translation=np.stack([100 + 20 * SHARES, 90 + 0 * SHARES], axis=1),
    )
    return face_model.animate(FaceShape(face_model.mean), motion).numpy()


class TestSlopes:
    @pytest.mark.parametrize("name", MEASURES)
    @pytest.mark.parametrize("strength", [0.5, 1.0, 1.3])
    def test_an_expression_that_is_halved_has_half_the_slope(self, face_model, name, strength):
        true, made = (expression_measures(acted(face_model, EXPRESSIONS[name], each))[name] for each in (1.0, strength))
        true, made = true - true[0], made - made[0]
        assert np.abs(true).max() > 0.02
        assert slope(true, made) == pytest.approx(strength, abs=0.03)
        assert correlation(true, made) > 0.99

    def test_a_turn_is_no_expression(self, face_model):
        for values in expression_measures(acted(face_model, {}, 1.0)).values():
            assert np.ptp(values) < 0.005

    def test_what_does_not_move_has_no_slope(self):
        assert np.isnan(slope(np.zeros(3), np.ones(3)))
        assert np.isnan(correlation(np.ones(3), np.arange(3.0)))

    def test_changes_of_all_clips_are_pooled_and_frames_without_a_face_left_out(self, face_model):
        """The source's own mouth is where changes start. One method opens half as far, one fully; one loses a face."""
        full, half = (acted(face_model, EXPRESSIONS["opening"], strength) for strength in (1.0, 0.5))
        scene = Pictures()
        targets = scene.of(full[1:])
        clip = SimpleNamespace(source=torch.from_numpy(scene.of(full[:1])).permute(0, 3, 1, 2) / 255, targets=targets)
        rendered = {"flow": scene.of(half[1:]), "layers": targets, "teacher": scene.of([*full[1:5], None])}
        changes = ExpressionChanges()
        for _ in range(2):
            changes.add(clip, rendered, Landmarker("a script", scene))
        opening = {method: measures["opening"] for method, measures in changes.slopes().items()}
        assert opening["flow"]["slope"] == pytest.approx(0.5, abs=0.03)
        assert (opening["layers"]["slope"], opening["layers"]["correlation"]) == pytest.approx((1, 1))
        assert opening["teacher"]["slope"] == pytest.approx(1)
        assert changes.pairs["flow"]["opening"][0].shape == (2, 5)
        assert changes.pairs["teacher"]["opening"][0].shape == (2, 4)


class Pictures:
    """Makes pictures that name their landmarks, and finds these in them."""

    def __init__(self) -> None:
        self.known: list[np.ndarray | None] = []

    def of(self, faces) -> np.ndarray:
        first = len(self.known)
        self.known += list(faces)
        numbers = np.arange(first, len(self.known), dtype=np.uint8)
        return np.broadcast_to(numbers[:, None, None, None], (len(numbers), 4, 4, 3)).copy()

    def find_faces(self, image: np.ndarray) -> list[Face]:
        points = self.known[int(image[0, 0, 0])]
        return [] if points is None else [Face.of(points, 1.0)]


class TestLandmarker:
    def test_its_file_is_looked_for_where_it_may_be(self, tmp_path, monkeypatch):
        monkeypatch.delenv("SUPERFACE_MODELS", raising=False)
        assert find_landmarker(tmp_path) is None
        for folder in ("models", "elsewhere"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "face_landmarker.task").touch()
        assert find_landmarker(tmp_path) == tmp_path / "models/face_landmarker.task"
        monkeypatch.setenv("SUPERFACE_MODELS", str(tmp_path / "elsewhere"))
        assert find_landmarker(tmp_path) == tmp_path / "elsewhere/face_landmarker.task"

    def test_without_it_the_embedded_tracker_measures_and_the_judge_says_so(self, tracker, monkeypatch):
        """What is missing is named, whichever network it is."""

        def network(device: str, size: str = "lite0") -> object:
            if size == "lite2":
                raise SuperFaceError("no second judge")
            return object()

        monkeypatch.setattr("superface_hf.evaluation.scoring.FeatureNetwork", network)
        monkeypatch.setattr("superface_hf.evaluation.scoring.IdentityNetwork", lambda: object())
        judge = FrameScorer(tracker)
        assert judge.landmarker.tracker is tracker
        assert judge.landmarker.name == "the embedded tracker"
        assert judge.missing[0] == "no second judge"
        assert "--landmarker face_landmarker.task" in judge.missing[-1]


class TestStraightLines:
    lines = (Line(60, 0.03), Line(110, 0.03))

    def picture(self, moved: np.ndarray | float = 0.0) -> np.ndarray:
        """(192, 192) levels: two lines, the second of which is moved by so much in each row."""
        rows = np.broadcast_to(moved, SIZE)
        dark = draw_lines([self.lines[0]], SIZE, SIZE)
        for row, shift in enumerate(rows):
            other = draw_lines([Line(self.lines[1].start + self.lines[1].slope * row + shift, 0)], 1, SIZE)[0]
            dark[row] = np.maximum(dark[row], other)
        return np.rint(200 - DEPTH * dark).astype(np.uint8)

    def bend(self, picture: np.ndarray, seen: np.ndarray | None = None) -> float:
        seen = np.ones((SIZE, SIZE), bool) if seen is None else seen
        return bend(picture, self.picture(), list(self.lines), seen, DEPTH)

    def test_straight_lines_have_no_bend(self):
        assert self.bend(self.picture()) == 0
        assert self.bend((self.picture() * 0.9).astype(np.uint8)) < 0.1  # darker, and where they were

    @pytest.mark.parametrize("height", [0.6, 3.0, -7.0])
    def test_a_bulge_is_measured_in_pixels(self, height):
        bulge = height * np.exp(-0.5 * np.square((np.arange(SIZE) - 96) / 25))
        assert self.bend(self.picture(bulge)) == pytest.approx(abs(height), rel=0.06, abs=0.1)

    def test_a_line_that_is_gone_counts_as_far_as_it_was_looked_for(self):
        assert self.bend(np.full((SIZE, SIZE), 200, np.uint8)) == REACH

    def test_what_is_hidden_is_not_measured(self):
        bulge = 5 * np.exp(-0.5 * np.square((np.arange(SIZE) - 96) / 10))
        seen = np.ones((SIZE, SIZE), bool)
        seen[50:140] = False
        assert self.bend(self.picture(bulge), seen) < 0.1
        assert np.isnan(self.bend(self.picture(bulge), np.zeros_like(seen)))


def shifted(picture: np.ndarray, x: float, y: float, width: float = 1e9) -> np.ndarray:
    """A picture that is moved by (x, y) pixels in its middle, and less away from it."""
    rows, columns = np.mgrid[0 : len(picture), 0 : len(picture)].astype(np.float32)
    middle = len(picture) / 2
    share = np.exp(-0.5 * (np.square(rows - middle) + np.square(columns - middle)) / width**2).astype(np.float32)
    return cv2.remap(picture, columns - x * share, rows - y * share, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


class TestWall:
    def test_it_is_the_same_again_and_lines_of_both_directions_are_measured(self):
        wall, seen = Wall.draw(SIZE, 3), np.ones((SIZE, SIZE), bool)
        assert (Wall.draw(SIZE, 3).light == wall.light).all()
        assert wall.bend(wall.light, wall.light, seen) == 0
        for x, y in ((4.0, 0.0), (0.0, 4.0)):
            assert wall.bend(shifted(wall.light, x, y, 30), wall.light, seen) == pytest.approx(4, abs=0.5)

    def test_the_person_is_told_from_a_wall_that_moved(self):
        """Whatever the renderer did to the wall, it is seen; where the person covers half of a pixel, it is not."""
        wall = Wall.draw(SIZE, 0)
        alpha = np.zeros((SIZE, SIZE, 1))
        alpha[80:120, 80:120] = 1
        alpha[80:120, 120:124] = 0.5
        lit, unlit = (
            (alpha * 140 + (1 - alpha) * shifted(picture, 6, 3) + 0.5).astype(np.uint8)
            for picture in (wall.light, wall.dark)
        )
        seen = wall_is_seen(lit, unlit, margin=0)
        assert (seen == (alpha[..., 0] == 0)).all()
        around = wall_is_seen(lit, unlit, margin=5)
        assert not around[75:125, 100].any()
        assert around[:70].all()
        assert unchanged(lit, wall.light, seen) < 0.2
        rng = np.random.default_rng(0)
        for picture, brightness in ((lit, 216), (unlit, 105)):  # a piece is painted anew, with a grain of its own
            picture[10:30, 10:30] = brightness + rng.integers(-3, 4, (20, 20, 3))
        assert (wall_is_seen(lit, unlit, margin=0) == seen).all()
        assert unchanged(wall.light, wall.light, seen) == 1


@pytest.fixture
def portrait(face_points, face_model, scene) -> NamedPortrait:
    tracker = ScriptedTracker([Face.of(face_points(256, 270, 130), 1.0)])
    found = find_portrait(np.asarray(Image.fromarray(scene).resize((512, 512))), tracker, face_model, "only", SIZE)
    return NamedPortrait("one", found, cut_out(found.picture, found.crop, SIZE))


class Bending:
    """Renders what the measures should say: the flow bends the wall behind the person, and the layers nothing of it."""

    size = SIZE

    def __init__(self, matte) -> None:
        self.matte, self.driven = matte, []

    def render(self, source, landmarks, driving, side) -> dict[str, np.ndarray]:
        self.driven.append(driving)
        picture = to_uint8(source)[0]
        bent = shifted(picture, 8, 0, 45)
        noisy = picture.copy()
        noisy[:10] ^= 1
        frames = {"flow": bent, "layers": picture, "teacher": noisy}
        return {method: np.stack([frame] * len(driving)) for method, frame in frames.items()}


class TestTurningPortraits:
    def test_a_wall_that_bends_is_told_from_one_that_stays(self, portrait, matte):
        methods = Bending(matte)
        figures, cells = wall_figures(portrait, methods, (10, 30), seed=0)
        assert list(figures) == [10, 30]
        assert len(cells) == 1 + 2 * 3
        for row in figures.values():
            assert row["layers"] == {"unchanged": 1.0, "bend": 0.0}
            assert row["flow"]["bend"] > 1.5
            assert row["flow"]["unchanged"] < 0.8
            assert row["teacher"]["bend"] < 0.1
            assert 0.85 < row["teacher"]["unchanged"] < 0.97
        assert torch.equal(*methods.driven)
        assert methods.driven[0].shape == (2, 478, 3)

    @pytest.mark.parametrize("own", [-0.3, 0.1])
    @pytest.mark.parametrize("degrees", [10, 30])
    def test_a_head_turns_by_so_much_toward_the_camera(self, own, degrees):
        rest = replace(Motion.neutral(1, 25), rotation=np.array([[0.1, own, 0.2]]))
        before, after = (rotation_matrix(motion.rotation)[0, :, 2] for motion in (rest, turned(rest, degrees)))
        assert np.degrees(np.arccos(before @ after)) == pytest.approx(degrees, abs=0.01)
        assert after[0] * before[0] < 0 or abs(after[0]) < abs(before[0])


class TestTurningClips:
    def test_the_pair_nearest_to_a_turn_begins_with_the_frontal_frame_and_a_roll_is_no_turn(self):
        angles = np.deg2rad([[0, -12, 0], [0, 2, 0], [0, 12, 0], [0, 0, 40]])
        motion = replace(Motion.neutral(4, 25), rotation=angles)
        assert turned_pair(motion, 10) == (1, 2)
        assert turned_pair(motion, 24)[1] in (0, 2)
        assert turned_pair(motion, 20) is None
        assert turned_pair(motion, 40) is None

    @pytest.fixture
    def clip(self, tmp_path, face_model, scene):
        """Eight frames of a head that goes on turning, by 21 degrees together; a tracker that knows where it looks."""
        turn = np.deg2rad(np.linspace(0, 21, 8))
        motion = replace(
            Motion.neutral(8, 25),
            rotation=np.stack([0 * turn, turn, 0 * turn], axis=1),
            scale=np.full(8, 40.0),
            translation=np.tile([64.0, 66.0], (8, 1)),
        )
        points = face_model.animate(FaceShape(face_model.mean), motion).numpy()
        write_mp4(tmp_path / "val_000.mp4", np.stack([np.roll(scene[:128, :128], t, 1) for t in range(8)]), 25)
        return tmp_path / "val_000.mp4", ScriptedTracker([], list(points))

    def test_frames_of_a_clip_are_found_by_their_turns(self, clip):
        pairs = turned_pairs(*clip[:1], (10, 20, 30), 8, clip[1])
        assert set(pairs) == {10, 20}
        for pair in pairs.values():
            assert pair.targets.shape == (1, 128, 128, 3)
            mesh = (pair.driving.numpy() + [1, 1, 0]) * 64
            assert np.abs(mesh - pair.target_landmarks)[..., :2].max() < 1.5
        widest = pairs[20]
        assert np.abs(widest.source_landmarks.numpy() - clip[1].script[0] / 64 + [1, 1, 0]).max() < 0.06

    def test_a_clip_without_faces_is_refused_by_name(self, clip):
        with pytest.raises(NoFaceError, match="val_000"):
            turned_pairs(clip[0], (10,), 8, ScriptedTracker([], [None]))

    def test_hair_and_outline_are_compared_with_the_targets(self, face_points):
        """A matte that sees the bright as the person: moved, the outline overlaps less; blurred, the hair is less sharp."""

        class BrightMatte:
            config, device = SimpleNamespace(image_size=64), torch.device("cpu")

            def __call__(self, pixels: torch.Tensor) -> SimpleNamespace:
                return SimpleNamespace(logits=40 * (pixels.mean(1, keepdim=True) - 0.3))

        rng = np.random.default_rng(0)
        target = np.zeros((128, 128, 3), np.uint8)
        target[20:110, 30:98] = rng.integers(150, 250, (90, 68, 3))
        pair = SimpleNamespace(targets=target[None], target_landmarks=face_points(64, 66, 30)[None])
        same = clip_figures(target, pair, BrightMatte())
        assert same == {"sharpness_hair": pytest.approx(1), "outline": 1.0}
        moved = clip_figures(np.roll(target, 17, 1), pair, BrightMatte())
        assert moved["outline"] == pytest.approx((68 - 17) / (68 + 17), abs=0.05)
        assert clip_figures(cv2.blur(target, (3, 3)), pair, BrightMatte())["sharpness_hair"] < 0.5

    def test_the_overlap_of_outlines_is_that_of_areas(self):
        one, other = np.zeros((10, 10)), np.zeros((10, 10))
        one[:, :6], other[:, 2:8], other[:, 9] = 1, 0.9, 0.4
        assert outline_overlap(one, other) == pytest.approx(4 / 8)
        assert np.isnan(outline_overlap(0 * one, 0 * one))


def test_means_are_of_the_clips_that_turn_so_far():
    results = TurnResults()
    rows = {method: {"sharpness_hair": 0.9, "outline": 0.8} for method in ("flow", "layers", "teacher")}
    results.clips = {
        "a": {10: rows, 20: rows},
        "b": {10: {method: dict.fromkeys(rows["flow"], 1.0) for method in rows}},
    }
    found = results.as_dict()
    assert found["counts"][10] == {"clips": 2, "portraits": 0}
    assert found["counts"][30]["clips"] == 0
    assert found["mean"][10]["teacher"]["outline"] == pytest.approx(0.9)
    assert found["mean"][20]["teacher"]["outline"] == pytest.approx(0.8)
    assert np.isnan(found["mean"][30]["teacher"]["outline"])


def test_verdicts_are_those_of_the_worst_turn():
    def row(unchanged: float, bend: float) -> dict[str, dict[str, float]]:
        return {"teacher": {"unchanged": unchanged, "bend": bend}}

    for mean, reached in (
        ({10: row(1.0, 0.0), 20: row(1.0, 0.4)}, (True, True)),
        ({10: row(1.0, 0.6), 20: row(0.999, 0.0)}, (False, False)),
        ({10: row(1.0, 0.1), 20: row(float("nan"), float("nan"))}, (None, None)),
    ):
        assert tuple(v.reached for v in verdicts({"turns": {"mean": mean}})) == reached
