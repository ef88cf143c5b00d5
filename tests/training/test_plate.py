"""The plate: the picture's own pixels around the person, and something believable behind."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from drawn_people import pack_drawn_people
from huggingface_hub.errors import StrictDataclassClassValidationError

from superface_hf import SuperFaceInpainterConfig, SuperFaceInpainterModel
from superface_hf.data.pictures.holes import draw_holes, fixed_holes
from superface_hf.data.pictures.packed import load_packed
from superface_hf.layers.plate import hole_behind, make_plate
from superface_hf.models.inpainter import pull_push
from superface_hf.training.inpainter import trainer as inpainter_training
from superface_hf.training.losses.patch_discriminator import PatchDiscriminator
from superface_hf.utils.settings import SettingsError


def small(**changes) -> SuperFaceInpainterConfig:
    return SuperFaceInpainterConfig(**{"channels": [4, 6, 8, 12], "bottleneck": 6, "dilations": [1, 2], **changes})


@pytest.fixture(scope="module")
def untrained() -> SuperFaceInpainterModel:
    return SuperFaceInpainterModel(small()).eval()


def painted(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth picture with a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    picture = np.stack([x * 150 / width + 40, y * 150 / height + 40, np.full((height, width), 90)], axis=2)
    return np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


def person(height: int, width: int) -> np.ndarray:
    """A soft-edged person who stands in the middle and is cut by the picture's bottom."""
    y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    head = 0.15 - np.hypot(x - 0.5, (y - 0.4) / 1.3)
    body = np.minimum(0.25 - np.abs(x - 0.5), y - 0.65)
    return np.clip(np.maximum(head, body) * 0.2 * height + 0.5, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return pack_drawn_people(tmp_path_factory.mktemp("shards"))


class TestPullPush:
    def test_what_is_known_is_kept_bit_for_bit(self):
        pictures, known = torch.rand(2, 3, 37, 50), (torch.rand(2, 1, 37, 50) > 0.5).float()
        filled = pull_push(pictures, known)
        kept = known.expand_as(pictures) > 0
        assert torch.equal(filled[kept], pictures[kept])

    def test_a_hole_in_one_colour_gets_that_colour(self):
        pictures = torch.full((1, 3, 64, 64), 0.3)
        known = torch.ones(1, 1, 64, 64)
        known[..., 10:60, 5:55] = 0
        pictures = torch.where(known > 0, pictures, torch.rand_like(pictures))
        assert torch.allclose(pull_push(pictures, known), torch.full((1, 3, 64, 64), 0.3), atol=1e-5)

    def test_it_is_grey_where_nothing_is_known(self):
        assert torch.equal(pull_push(torch.rand(1, 3, 9, 7), torch.zeros(1, 1, 9, 7)), torch.full((1, 3, 9, 7), 0.5))

    def test_the_fill_lies_between_the_colours_around_it(self):
        pictures = torch.rand(1, 3, 80, 80) * 0.4 + 0.3
        known = torch.ones(1, 1, 80, 80)
        known[..., 20:70, 20:60] = 0
        filled = pull_push(pictures, known)
        assert 0.3 <= filled.min() <= filled.max() <= 0.7


class TestNetwork:
    def test_freshly_made_it_is_the_pull_push_fill(self, untrained):
        pictures, known = torch.rand(1, 3, 45, 70), torch.ones(1, 1, 45, 70)
        known[..., 10:40, 20:50] = 0
        with torch.inference_mode():
            output = untrained(pictures, known)
        assert torch.allclose(output.pictures, output.fill)
        assert torch.equal(output.fill, pull_push(pictures, known))

    def test_it_is_small(self):
        assert SuperFaceInpainterModel(SuperFaceInpainterConfig()).num_parameters() < 3e6

    def test_what_the_hole_holds_does_not_matter(self):
        torch.manual_seed(0)
        network = SuperFaceInpainterModel(small()).eval()
        torch.nn.init.normal_(network.head.weight, std=0.1)
        known = torch.ones(1, 1, 40, 40)
        known[..., 10:30, 10:30] = 0
        pictures = torch.rand(1, 3, 40, 40)
        other = torch.where(known > 0, pictures, torch.rand(1, 3, 40, 40))
        with torch.inference_mode():
            first, second = network(pictures, known).pictures, network(other, known).pictures
        assert torch.equal(first, second)
        assert torch.equal(first[..., :10, :], pictures[..., :10, :])

    def test_it_is_stored_in_half_and_runs_in_single_precision(self, tmp_path):
        network = SuperFaceInpainterModel(small()).eval()
        torch.nn.init.normal_(network.head.weight, std=0.1)
        network.half().save_pretrained(tmp_path)
        loaded = SuperFaceInpainterModel.from_pretrained(tmp_path).eval()
        assert loaded.dtype == torch.float32
        pictures, known = torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
        known[..., 8:24, 8:24] = 0
        with torch.inference_mode():
            assert torch.allclose(
                loaded(pictures, known).pictures, network.float()(pictures, known).pictures, atol=1e-4
            )

    @pytest.mark.parametrize("wrong", [{"working_size": 8}, {"channels": [8]}, {"bottleneck": 0}, {"dilations": []}])
    def test_what_cannot_work_is_refused(self, wrong):
        with pytest.raises(StrictDataclassClassValidationError, match=next(iter(wrong))):
            SuperFaceInpainterConfig(**wrong)


class TestPlate:
    @pytest.mark.parametrize("size", [(200, 260), (700, 520), (1300, 1100)])
    def test_pixels_outside_the_hole_are_the_pictures_own(self, untrained, size):
        picture, alpha = painted(*size), person(*size)
        plate = make_plate(picture, alpha, untrained)
        hole = hole_behind(alpha)
        assert np.array_equal(plate[~hole], picture[~hole])
        assert plate.dtype == np.uint8
        assert (alpha[~hole] <= 0.02).all()

    @pytest.mark.parametrize("size", [(300, 300), (900, 800)])
    def test_nothing_of_the_person_shows(self, untrained, size):
        picture, alpha = painted(*size), person(*size)
        clean = picture.copy()
        picture[alpha > 0.02] = (255, 0, 255)
        plate = make_plate(picture, alpha, untrained)
        assert np.abs(plate.astype(int) - clean).max(axis=2)[alpha > 0.02].mean() < 40
        assert np.array_equal(plate, make_plate(picture, alpha, untrained))

    def test_the_fill_is_as_grainy_as_what_is_around(self, untrained):
        picture, alpha = painted(900, 900), person(900, 900)
        hole = hole_behind(alpha)
        plate = make_plate(picture, alpha, untrained).astype(np.float32)
        fine = np.abs(np.diff(plate, axis=1)).mean(2)
        inside, outside = fine[hole[:, 1:]].mean(), fine[~hole[:, 1:]].mean()
        assert 0.4 < inside / outside < 1.6

    def test_a_grey_picture_has_a_grey_plate(self):
        network = SuperFaceInpainterModel(small()).eval()
        torch.nn.init.normal_(network.head.weight, std=0.2)
        picture = np.repeat(painted(200, 200)[..., :1], 3, axis=2)
        plate = make_plate(picture, person(200, 200), network)
        assert np.ptp(plate.astype(int), axis=2).max() == 0

    def test_the_hole_does_not_grow_where_the_matte_was_cut(self):
        alpha = person(400, 300)
        alpha[300:] = 0  # the body goes on, and nothing moves there
        hole = hole_behind(alpha)
        assert not hole[300:].any()
        assert hole[299, 150]
        assert hole.sum() > (alpha > 0.02).sum()

    def test_nobody_and_nothing_else(self, untrained):
        picture = painted(60, 50)
        for value in (0.0, 1.0):
            assert np.array_equal(make_plate(picture, np.full((60, 50), value, np.float32), untrained), picture)


class TestTraining:
    def test_nobody_is_painted_where_a_person_stands(self, shards):
        data = load_packed(shards, "val", 96)
        batch = fixed_holes(data, 64)
        assert torch.equal(batch.asked, fixed_holes(data, 64).asked)
        matte = torch.nn.functional.interpolate(data.mattes.float() / 255, size=(64, 64), mode="area")
        assert not (batch.asked * (matte > 0.5)).any()
        assert not (batch.asked * batch.known).any()

    def test_only_holes_are_asked_for(self, shards):
        torch.manual_seed(0)
        batch = draw_holes(load_packed(shards, "train", 96), 16, 64)
        assert not (batch.asked * batch.known).any()
        assert 0 < batch.asked.mean() < 0.7

    def test_it_trains_and_releases_half_precision_that_loads(self, shards, tmp_path):
        config = inpainter_training.InpainterTrainingConfig(
            shards, tmp_path, 2, batch_size=2, size=64, mixed_precision="no",
            network={"channels": [4, 6, 8, 12], "bottleneck": 6, "dilations": [1, 2]},
        )  # fmt: skip
        final = inpainter_training.run(config)
        assert final == tmp_path / "final"
        assert SuperFaceInpainterModel.from_pretrained(final).head.weight.abs().max() > 0
        (line,) = (json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines())
        assert {"perceptual", "perceptual_fill", "psnr", "psnr_fill"} == set(line["validation"])

    def test_a_network_that_cannot_be_is_refused(self, shards, tmp_path):
        with pytest.raises(SettingsError, match="channels needs four widths"):
            inpainter_training.run(
                inpainter_training.InpainterTrainingConfig(
                    shards, tmp_path, mixed_precision="no", network={"channels": [8]}
                )
            )

    def test_the_critic_sees_the_hole(self):
        critic = PatchDiscriminator(condition=1, width=8)
        judged = critic(torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 32))
        assert [len(features) for features in judged] == [4, 4]
