"""The matte: a network that trains in a given time, and a cut-out that is exact at the picture's own resolution."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from drawn_people import RED, head, pack_drawn_people, place
from huggingface_hub.errors import StrictDataclassClassValidationError
from safetensors.torch import load_file
from torch import nn

import superface_hf
from superface_hf import SuperFaceMatteConfig, SuperFaceMatteModel
from superface_hf.data.pictures.augment import around_face, draw_batch
from superface_hf.data.pictures.packed import load_packed
from superface_hf.data.pictures.random_windows import sample
from superface_hf.errors import SuperFaceError
from superface_hf.hub import weights_folder
from superface_hf.layers.matting import NOTHING, MatteWindow, cut_out_person, foreground_colours
from superface_hf.media import load_picture
from superface_hf.models.embedded import embedded_matte
from superface_hf.training.matte import trainer as matte_training


class RedIsPerson:
    """Stands in for a trained network: what is red is a person, as seen through a blur of three of its pixels."""

    config = SimpleNamespace(image_size=256)
    device = torch.device("cpu")

    def __call__(self, pixels: torch.Tensor) -> SimpleNamespace:
        red = (pixels[:, :1] - pixels[:, 2:]).clamp(-0.3, 0.3) / 0.3
        soft = nn.functional.avg_pool2d(nn.functional.pad(red, (3, 3, 3, 3), mode="replicate"), 7, 1)
        return SimpleNamespace(logits=soft * 8)


def face_at(x: float, y: float, width: float) -> np.ndarray:
    """Landmarks on an ellipse."""
    angle = np.linspace(0, 2 * np.pi, 478)
    points = np.stack([x + width / 2 * np.cos(angle), y + 0.65 * width * np.sin(angle), 0 * angle], axis=1)
    return points.astype(np.float32)


class TestNetwork:
    def test_it_is_small_and_answers_for_each_pixel(self):
        network = SuperFaceMatteModel(SuperFaceMatteConfig()).eval()
        assert network.num_parameters() < 1e6
        with torch.inference_mode():
            assert network(torch.rand(2, 3, 256, 256)).logits.shape == (2, 1, 256, 256)

    def test_it_is_stored_in_half_and_runs_in_single_precision(self, tmp_path):
        network = SuperFaceMatteModel(SuperFaceMatteConfig()).eval()
        network.half().save_pretrained(tmp_path)
        loaded = SuperFaceMatteModel.from_pretrained(tmp_path).eval()
        assert loaded.dtype == torch.float32
        pixels = torch.rand(1, 3, 64, 64)
        with torch.inference_mode():
            assert torch.allclose(loaded(pixels).logits, network.float()(pixels).logits, atol=1e-4)

    @pytest.mark.parametrize("wrong", [{"image_size": 250}, {"image_size": 1 << 20}])
    def test_what_cannot_work_is_refused(self, wrong):
        with pytest.raises(StrictDataclassClassValidationError, match=next(iter(wrong))):
            SuperFaceMatteConfig(**wrong)


class TestWindow:
    def test_it_is_moved_into_the_picture_as_far_as_it_can_be(self):
        window = MatteWindow.around(face_at(30, 40, 50), (600, 800, 3), 3.4, 0.47)
        assert (window.left, window.top, window.side) == (0, 0, 170)

    def test_it_is_no_larger_than_the_picture_and_reaches_beyond_it_on_the_short_side_only(self):
        window = MatteWindow.around(face_at(400, 150, 200), (300, 800, 3), 3.4, 0.47)
        assert window.side == 680
        assert -380 <= window.top <= 0
        assert 0 <= window.left <= 120
        assert MatteWindow.around(face_at(128, 128, 150), (256, 256, 3), 3.4, 0.47) == MatteWindow(0, 0, 256)


class TestCutOut:
    def test_outlines_are_exact_at_the_pictures_own_resolution(self):
        picture = head(place(1024, 1024), 512, 400, 300)
        alpha = cut_out_person(picture, face_at(512, 400, 300), RedIsPerson())
        truth = picture[..., 0] > 100
        near = cv2.dilate(truth.astype(np.uint8), np.ones((41, 41))) - cv2.erode(
            truth.astype(np.uint8), np.ones((41, 41))
        )
        assert alpha[(near == 0) & truth].min() == 1
        assert alpha[(near == 0) & ~truth].max() == 0
        assert np.mean((alpha > 0.5) != truth) < 0.002

    def test_a_strand_that_the_network_hardly_sees_is_found_by_its_colour(self):
        picture = head(place(768, 768), 384, 380, 230)
        cv2.line(picture, (384, 250), (330, 168), RED, 4)
        coarse = cut_out_person(cv2.GaussianBlur(picture, (0, 0), 6), face_at(384, 380, 230), RedIsPerson())
        alpha = cut_out_person(picture, face_at(384, 380, 230), RedIsPerson())
        assert alpha[190:195, 344:350].max() > coarse[190:195, 344:350].max() + 0.2

    def test_of_several_people_the_chosen_one_is_kept(self):
        picture = head(head(place(500, 900), 250, 200, 120), 680, 200, 120)
        alpha = cut_out_person(picture, face_at(250, 200, 120), RedIsPerson())
        assert alpha[:, 500:].max() == 0
        assert alpha[200, 250] == 1
        other = cut_out_person(picture, face_at(680, 200, 120), RedIsPerson())
        assert other[:, :420].max() == 0
        assert other[200, 680] == 1

    def test_people_who_touch_are_parted_where_the_other_face_becomes_nearer(self):
        picture = head(head(place(500, 700), 250, 200, 120), 450, 200, 120)
        alpha = cut_out_person(picture, face_at(250, 200, 120), RedIsPerson(), [face_at(450, 200, 120)])
        assert alpha[200, 250] == 1
        assert alpha[120:280, 400:].max() == 0

    def test_a_body_goes_on_beyond_the_first_window_without_a_border(self):
        picture = head(place(1000, 700), 350, 180, 100)
        alpha = cut_out_person(picture, face_at(350, 180, 100), RedIsPerson())
        first = MatteWindow.around(face_at(350, 180, 100), picture.shape, 3.4, 0.47)
        body = alpha[first.top + first.side - 60 : first.top + first.side + 200, 350]
        assert body.min() == 1

    def test_a_face_at_the_pictures_corner_works(self):
        picture = head(place(300, 400), 10, 20, 100, body=False)
        alpha = cut_out_person(picture, face_at(10, 20, 100), RedIsPerson())
        assert alpha.shape == (300, 400)
        assert alpha[20, 10] == 1
        assert alpha[:, 300:].max() == 0

    def test_a_large_picture_is_worked_on_around_the_face_only(self):
        picture = head(place(2160, 3840), 3000, 700, 60)
        alpha = cut_out_person(picture, face_at(3000, 700, 60), RedIsPerson())
        assert alpha[700, 3000] == 1
        assert alpha[:, :2500].max() == 0


class TestEmbeddedWeights:
    def test_they_cut_out_the_astronaut(self):
        picture = load_picture(Path(superface_hf.__file__).parent / "assets/astronaut.png")
        alpha = cut_out_person(picture, face_at(224, 130, 85), embedded_matte())
        assert alpha[90:140, 205:245].min() == 1  # the face
        assert alpha[350:400, 100:200].min() == 1  # the suit
        assert alpha[10:120, 320:360].max() == 0  # the wall
        assert alpha[100:250, 400:440].max() < 0.5  # the shuttle

    def test_they_are_small(self):
        sizes = [(weights_folder(name) / "model.safetensors").stat().st_size for name in ("matte", "inpainter")]
        assert sum(sizes) < 8e6


class TestColours:
    def test_what_is_behind_no_longer_shines_through(self):
        alpha = np.clip((300 - np.hypot(*np.mgrid[-400:400, -400:400])) / 40 + 0.5, 0, 1).astype(np.float32)
        shape = (800, 800, 3)
        ours, behind = (np.broadcast_to(np.array(c, np.float32), shape) for c in (RED, (60, 220, 60)))
        picture = (alpha[..., None] * ours + (1 - alpha[..., None]) * behind + 0.5).astype(np.uint8)
        colours = foreground_colours(picture, alpha)
        fringe = (alpha > 0.1) & (alpha < 0.9)
        before, after = (np.abs(x[fringe].astype(float) - ours[fringe]).mean() for x in (picture, colours))
        assert after < 0.35 * before

    def test_the_person_is_kept_bit_for_bit(self):
        picture = np.random.default_rng(0).integers(0, 256, (400, 300, 3), np.uint8)
        alpha = cv2.GaussianBlur((np.hypot(*np.mgrid[-200:200, -150:150]) < 90).astype(np.float32), (0, 0), 4)
        alpha[alpha > 1 - NOTHING] = 1
        colours = foreground_colours(picture, alpha)
        assert np.array_equal(colours[alpha >= 1], picture[alpha >= 1])
        assert not np.shares_memory(colours, picture)

    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_nobody_and_nothing_else(self, value):
        picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
        assert np.array_equal(foreground_colours(picture, np.full((30, 40), value, np.float32)), picture)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return pack_drawn_people(tmp_path_factory.mktemp("shards"))


class TestTraining:
    def test_packed_pictures_come_back_as_they_were(self, shards):
        data = load_packed(shards, "val", 96)
        assert (len(data), data.pictures.shape, data.mattes.shape) == (2, (2, 3, 96, 96), (2, 1, 256, 256))
        assert data.pictures[0, :, 40, 56].tolist() == list(RED)
        with pytest.raises(SuperFaceError, match=r"pictures\.pack"):
            load_packed(shards / "nowhere", "val", 96)

    def test_a_batch_is_in_range_and_asks_for_nothing_beyond_a_picture(self, shards):
        batch = draw_batch(load_packed(shards, "train", 96), 8, 64)
        for part in (batch.pictures, batch.mattes, batch.known):
            assert part.isfinite().all()
            assert 0 <= part.min() <= part.max() <= 1
        assert 0 < batch.known.mean() < 1

    def test_the_window_of_inference_has_the_face_in_it(self, shards):
        data = load_packed(shards, "val", 96)
        seen = sample(data.mattes, around_face(data.faces, 2.0), 64)
        assert seen[:, 0, 24:40, 26:38].mean() > 0.95

    def test_it_trains_and_releases_half_precision_that_loads(self, shards, tmp_path):
        SuperFaceMatteModel(SuperFaceMatteConfig(image_size=64)).save_pretrained(tmp_path / "start")
        config = matte_training.MatteTrainingConfig(
            shards, tmp_path / "out", tmp_path / "start", 2, batch_size=2, mixed_precision="no"
        )
        final = matte_training.run(config)
        assert final == tmp_path / "out" / "final"
        weights, start = load_file(final / "model.safetensors"), load_file(tmp_path / "start" / "model.safetensors")
        assert set(weights) == set(start)
        assert any(not torch.allclose(weights[name].float(), start[name], atol=1e-4) for name in weights)
        assert {value.dtype for value in weights.values()} == {torch.float16}
        assert SuperFaceMatteModel.from_pretrained(final).dtype == torch.float32
        (line,) = (json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines())
        assert {"iou", "iou_clips", "iou_portraits", "iou_lowest"} == set(line["validation"])
