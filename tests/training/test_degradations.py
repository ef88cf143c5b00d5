"""SSR: sources are spoilt as cameras, scalers and JPEGs spoil pictures, the same for the same seed."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from superface_hf.data.degradations import (
    DegradationConfig,
    DegradationRound,
    Draws,
    SourceDegradation,
    blur,
    random_kernel,
)
from superface_hf.data.jpeg_simulation import simulate_jpeg
from superface_hf.errors import SuperFaceError

ALWAYS = DegradationConfig(share=1.0)


@pytest.fixture(scope="module")
def portrait() -> torch.Tensor:
    """(1, 3, 128, 128) of the bundled portrait."""
    from superface_hf.utils.assets import PORTRAIT

    picture = Image.open(PORTRAIT).convert("RGB").resize((128, 128), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_seed_gives_the_same_pictures_and_another_seed_others(portrait):
    batch = portrait.expand(3, -1, -1, -1)
    degrade = SourceDegradation(ALWAYS)
    first, again, other = (degrade(batch, seeded(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def test_pictures_keep_shape_type_range_and_input(portrait):
    batch, before = portrait.expand(4, -1, -1, -1).clone(), portrait.clone()
    result = SourceDegradation(ALWAYS)(batch, seeded())
    assert result.shape == batch.shape
    assert result.dtype == batch.dtype
    assert result.min() >= 0
    assert result.max() <= 1
    assert torch.equal(batch[0], before[0])


def test_half_precision_around_it_changes_nothing(portrait):
    """A trainer's autocast must not reach the filters: torch cannot shrink pictures in bfloat16."""
    batch, degrade = portrait.expand(8, -1, -1, -1), SourceDegradation(ALWAYS)
    alone = degrade(batch, seeded(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(degrade(batch, seeded(1)), alone)


def test_the_share_leaves_the_others_untouched(portrait):
    batch = portrait.expand(40, -1, -1, -1)
    result = SourceDegradation(DegradationConfig(share=0.5))(batch, seeded())
    untouched = (result == batch).flatten(1).all(1).float().mean()
    assert 0.25 < untouched < 0.75
    assert torch.equal(SourceDegradation(DegradationConfig(share=0.0))(batch, seeded()), batch)


def test_a_following_picture_is_spoilt_like_the_one_before(portrait):
    follows = torch.tensor([False, True, False, True])
    result = SourceDegradation(ALWAYS)(portrait.expand(4, -1, -1, -1), seeded(), follows)
    assert torch.equal(result[0], result[1])
    assert torch.equal(result[2], result[3])
    assert not torch.equal(result[0], result[2])


def test_details_are_lost_and_the_mean_colour_stays(portrait):
    result = SourceDegradation(ALWAYS)(portrait.expand(16, -1, -1, -1), seeded())
    errors = (result - portrait).square().mean((1, 2, 3))
    assert (errors > 1e-4).all()
    assert (result.mean((2, 3)) - portrait.mean((2, 3))).abs().max() < 0.03


@pytest.mark.parametrize("quality", [20, 50, 75, 92])
def test_the_jpeg_is_pillows(portrait, quality):
    pixels = (portrait[0].permute(1, 2, 0) * 255).byte().numpy()[:120, :99]  # no multiple of a block
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    expected = np.asarray(Image.open(buffer)).astype(float)
    ours = simulate_jpeg(portrait[..., :120, :99], quality)[0].permute(1, 2, 0).numpy() * 255
    loss = np.sqrt(((expected - pixels) ** 2).mean())
    assert np.sqrt(((ours - expected) ** 2).mean()) < 0.35 * loss
    assert np.sqrt(((ours - pixels) ** 2).mean()) == pytest.approx(loss, rel=0.05)


def test_a_blur_is_the_convolution_with_its_kernel(portrait):
    kernel = random_kernel(DegradationRound(blur_sigma=(1.5, 2.5), isotropic=0.0), Draws(seeded(3)))
    assert kernel.sum() == pytest.approx(1)
    reach = kernel.shape[-1] // 2
    padded = torch.nn.functional.pad(portrait, (reach,) * 4, mode="reflect")
    expected = torch.nn.functional.conv2d(padded.transpose(0, 1), kernel[None, None]).transpose(0, 1)
    assert torch.allclose(blur(portrait, kernel), expected, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{"quality": (0, 50)}, {"scale": (1.0, 0.5)}, {"photons": 3}, {"plain": 0.8, "general": 0.8}, {"blur": 2}],
)
def test_impossible_strengths_are_refused_by_name(changes):
    with pytest.raises(SuperFaceError, match=next(iter(changes))):
        DegradationRound(**changes)
    with pytest.raises(SuperFaceError, match="share"):
        DegradationConfig(share=1.5)


def test_bytes_are_refused():
    with pytest.raises(SuperFaceError, match="floats"):
        SourceDegradation()(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), seeded())
