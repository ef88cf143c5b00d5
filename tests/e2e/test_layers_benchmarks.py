"""``benchmarks/hard_cases.py`` and ``benchmarks/layers_ablation.py``: heads go where the sheets say, parts are really gone, and
only meanwhile."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from superface_hf import Motion
from superface_hf.evaluation.methods import Methods
from superface_hf.face_model.coordinates import Square
from superface_hf.layers import motion, outline
from superface_hf.layers.portrait import PortraitLayers, cut_out
from superface_hf.media import load_picture
from superface_hf.models.embedded import embedded_tracker
from superface_hf.motion.rotations import rotation_matrix
from superface_hf.utils.assets import PORTRAIT

NOSE, FOREHEAD, CHIN = 1, 10, 152
ROOT = Path(__file__).parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there for the names of types
    spec.loader.exec_module(module)
    return module


hard_cases, ablation = load("hard_cases"), load("layers_ablation")


class TestMoves:
    @pytest.mark.parametrize(("angle", "seen"), [("turn", (1, 0)), ("nod", (0, 1)), ("roll", (0, 0))])
    def test_a_head_turns_to_the_right_nods_down_and_by_the_angle_that_is_said(self, angle, seen, face_model):
        before = Motion.neutral(1, 25)
        after = hard_cases.Move("", **{angle: 35}).of(before)
        rotation = rotation_matrix(after.rotation)[0]
        assert np.degrees(np.arccos((np.trace(rotation) - 1) / 2)) == pytest.approx(35, abs=1e-4)
        assert np.sign(rotation[:2, 2].round(6)).tolist() == list(seen)  # where the face looks

    def test_a_head_leans_clockwise_about_its_neck(self, face_model):
        points = face_model.mean.numpy()
        after = hard_cases.Move("", roll=45).of(Motion.neutral(1, 25))
        moved = points @ rotation_matrix(after.rotation)[0].T + np.pad(after.translation[0], (0, 1))
        assert moved[FOREHEAD, 0] > moved[CHIN, 0] + 0.5  # the forehead goes to the right
        rest = np.linalg.norm(moved - points, axis=1)
        assert rest[CHIN] < 0.7 * rest[FOREHEAD]


def test_portraits_of_ones_own_do_not_go_among_those_that_are_shown(tmp_path, monkeypatch, capsys):
    for out in ([], ["--out", str(hard_cases.SHOWN)], ["--out", str(hard_cases.SHOWN / "mine")]):
        monkeypatch.setattr(sys, "argv", ["hard_cases.py", "--portraits", str(tmp_path), *out])
        with pytest.raises(SystemExit):
            hard_cases.main()
        assert "name another folder" in capsys.readouterr().err


@pytest.fixture(scope="module")
def moved(face_model):
    """The astronaut's picture, her landmarks, and these turned."""
    picture = load_picture(PORTRAIT)[:256, 96:352]
    whole = Square(0, 0, 256)
    own = torch.from_numpy(whole.to_image(embedded_tracker().find_faces(picture)[0].landmarks))[None]
    _, pose = face_model.fit(own, fps=1.0)
    shape = face_model.neutral_shape(own[0], pose[0])
    turned = hard_cases.Move("", turn=25, roll=10).of(pose)
    return cut_out(picture, whole, 256), own, face_model.animate(shape, turned), 256


@pytest.fixture(scope="module")
def methods(small_teacher):
    return Methods(small_teacher)


@pytest.fixture(scope="module")
def whole(methods, moved):
    return methods.render_teacher(*moved)


@pytest.mark.parametrize("name", [name for name in ablation.PARTS if name != "without volume"])
def test_what_is_taken_away_changes_the_frame_and_comes_back(name, methods, moved, whole):
    known = (PortraitLayers.make, motion.layer_flow, motion.head_centre, motion.FOLLOWING, outline.FOLLOWING)
    with ablation.PARTS[name](methods.teacher):
        without = methods.render_teacher(*moved)
    after = (PortraitLayers.make, motion.layer_flow, motion.head_centre, motion.FOLLOWING, outline.FOLLOWING)
    assert after == known
    assert np.abs(without.astype(int) - whole).max() > 10


def test_without_volume_the_generator_sees_none(small_teacher):
    seen = []
    watch = small_teacher.generator.volume_blocks.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    size, points = small_teacher.config.image_size, small_teacher.canonical[None] * 0.3
    with torch.inference_mode():
        prepared = small_teacher.prepare(torch.rand(1, 3, size, size), torch.ones(1, 1, size, size), points)
        with ablation.PARTS["without volume"](small_teacher):
            small_teacher.render(prepared, points)
        small_teacher.render(prepared, points)
    watch.remove()
    assert seen[0].abs().max() == 0 < seen[1].abs().max()
