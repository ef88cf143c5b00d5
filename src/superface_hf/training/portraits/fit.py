"""Fit the face space and its group prior to gathered faces::

    python -m superface_hf.training.portraits.fit FACES OUT

``FACES`` is what ``training.portraits.gather`` wrote. Closed form throughout: weighted regressions and principal components.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ...face_model.linear import FaceModel
from ...models.face_space.canonical import SIZE
from ...models.face_space.modeling_face_space import FACE_BOX, FaceSpace, outline
from ...models.face_space.prior import FEATURES, Group, Maps
from ...models.face_space.texture import bands, blur, direction, local_energy, luminance_of
from ...utils.easing import smoothstep
from ...utils.files import write_arrays
from .faces import Faces, load_faces

FEWEST = 20.0  # effective people that any place of the prior must rest on
RIDGE = 2.0  # people's worth of belief that a feature changes nothing
SHARP = 1.2  # canonical pixels for each of the picture's, up to which it shows how strong fine detail is
MOST_SHARP = 120  # such faces are enough
OUTLINE_WEIGHT = 0.5  # of the outline, against colours in [0, 1], in the canvas's components
BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--collections", nargs="*", default=["portraits_large", "portraits_small", "clips"])
    options = parser.parse_args()
    faces = load_faces(options.faces, options.collections)
    space, latents = fit(faces.part(np.flatnonzero(~faces.held_out)))
    space.save_pretrained(options.out)
    write_arrays(options.out / "latents.npz", {"latents": latents.numpy()})


def features_of(faces: Faces) -> Tensor:
    """Return the features (N, 6) of the group prior."""
    groups = zip(faces.masculine, faces.age, faces.tone, strict=True)
    return torch.stack([Group(float(m), float(np.clip(a, 18, 90)), float(t)).features for m, a, t in groups])


def fit(faces: Faces, space: FaceSpace | None = None) -> tuple[FaceSpace, Tensor]:
    """Fit a face space, and return the training faces' latents (N, D) as well.

    Raises:
        ValueError: too few people.
    """
    space = space or FaceSpace()
    if len(np.unique(faces.person)) < FEWEST:
        raise ValueError(f"At least {FEWEST:.0f} people are needed, there are {len(np.unique(faces.person))}.")
    features, weights = features_of(faces), torch.from_numpy(faces.weights).float()
    coloured = torch.from_numpy(~faces.grey)
    _fit_prior(space, faces, features, weights * coloured)
    shape = _fit_shape(space, faces, features, weights)
    canvas, detail = _fit_bases(space, faces, features, weights)
    _fit_texture(space, faces, features, weights * coloured * torch.from_numpy(faces.scale < SHARP))
    return space, torch.cat([shape, canvas, detail], 1)


def pixels(faces: Faces, rows: slice, layer: str, size: int) -> Tensor:
    """Return some rows of a layer as (B, C, size, size) in [0, 1]."""
    stored = torch.from_numpy(getattr(faces, layer)[rows]).float() / 255
    stored = stored[:, None] if stored.ndim == 3 else stored
    if size == SIZE:
        return stored
    return torch.nn.functional.interpolate(stored, (size, size), mode="area")


def regress(maps: Tensor, certain: Tensor, features: Tensor, gram: Tensor, moment: Tensor) -> None:
    """Add a batch of pictures (B, C, H, W), each pixel ``certain`` (B, 1, H, W), to per-pixel normal equations.

    ``gram`` is (H * W, 6, 6) and ``moment`` (H * W, 6, C).
    """
    outer = (features[:, :, None] * features[:, None, :]).flatten(1)  # (B, 36)
    each = certain.flatten(1)  # (B, P)
    gram += (each.T @ outer).view(-1, FEATURES, FEATURES)
    for channel in range(maps.shape[1]):
        moment[..., channel] += (each * maps[:, channel].flatten(1)).T @ features


def solved(gram: Tensor, moment: Tensor, size: int) -> Tensor:
    """Solve the regression for pictures (6, C, size, size); places that too few people show are filled from around."""
    ridge = RIDGE * torch.eye(FEATURES)
    ridge[0, 0] = 1e-3
    maps = torch.linalg.solve(gram + ridge, moment)  # (P, 6, C)
    maps = maps.permute(1, 2, 0).reshape(FEATURES, -1, size, size)
    people = gram[:, 0, 0].view(1, 1, size, size)
    known = (people >= FEWEST).float()
    return spread_out(maps, known)


def spread_out(maps: Tensor, known: Tensor) -> Tensor:
    """Fill what is not known (1, 1, H, W) from around, by means over ever larger squares (pull and push)."""
    if bool(known.all()) or maps.shape[-1] <= 4:
        return maps
    pooled = torch.nn.functional.avg_pool2d(known, 2)
    smaller = torch.nn.functional.avg_pool2d(maps * known, 2) / pooled.clamp_min(1e-6)
    coarse = spread_out(smaller, (pooled > 0).float())
    large = torch.nn.functional.interpolate(coarse, maps.shape[-2:], mode="bilinear")
    return maps * known + large * (1 - known)


def _fit_prior(space: FaceSpace, faces: Faces, features: Tensor, weights: Tensor) -> None:
    prior = space.prior
    for layer, target, maps in (
        ("colours", "person", prior.person), ("alpha", "alpha", prior.alpha), ("pictures", "background", prior.background),
    ):  # fmt: skip
        size = maps.codes.shape[-1]
        channels = maps.codes.shape[1]
        gram = torch.zeros(size * size, FEATURES, FEATURES)
        moment = torch.zeros(size * size, FEATURES, channels)
        for start in tqdm(range(0, len(features), BATCH), mininterval=20, desc=target):
            rows = slice(start, start + BATCH)
            seen = (pixels(faces, rows, "seen", size) > 0.99).float()
            alpha = pixels(faces, rows, "alpha", size)
            share = {
                "person": alpha * (alpha > 0.5),
                "alpha": torch.ones_like(alpha),
                "background": (alpha < 0.05).float(),
            }
            certain = share[target] * seen * weights[rows].view(-1, 1, 1, 1)
            # A face and its mirror image weigh the same, so that the prior is symmetric.
            for flipped in (False, True):
                pair = [pixels(faces, rows, layer, size), certain]
                pair = [part.flip(-1) for part in pair] if flipped else pair
                regress(pair[0], pair[1] / 2, features[rows], gram, moment)
        result = solved(gram, moment, size)
        if target == "person":
            prior.person_mean.copy_(result[0].half())
            result = torch.cat([torch.zeros_like(result[:1]), result[1:]])
        maps.store(result)


def _fit_shape(space: FaceSpace, faces: Faces, features: Tensor, weights: Tensor) -> Tensor:
    """Return the shape of each face on the identity basis, regressed on the group; what is left are latents (N, K)."""
    model = FaceModel.default()
    basis = model.identity_basis[: space.config.shape_size].flatten(1)
    count = len(basis)
    change = (torch.from_numpy(faces.shapes) - model.mean).flatten(1)
    metric = model.metric.flatten()
    noise = 0.02**2
    gram = (basis * metric) @ basis.T / noise + torch.eye(count)
    coefficients = torch.linalg.solve(gram, (basis * metric) @ change.T / noise).T  # (N, K)
    normal = (features * weights[:, None]).T @ features + RIDGE * torch.eye(FEATURES)
    effect = torch.linalg.solve(normal, (features * weights[:, None]).T @ coefficients)
    rest = coefficients - features @ effect
    # Whitened: principal axes of what is left become the basis.
    covariance = (rest * weights[:, None]).T @ rest / weights.sum()
    spread, axes = torch.linalg.eigh(covariance)
    order = spread.argsort(descending=True)
    spread, axes = spread[order].clamp_min(1e-6).sqrt(), axes[:, order]
    space.shape_basis[:count].copy_(((axes * spread).T @ basis).view(count, 478, 3))
    space.prior.shape[:, :count].copy_(effect @ axes / spread)
    return torch.nn.functional.pad(rest @ axes / spread, (0, space.config.shape_size - count))


def _fit_bases(space: FaceSpace, faces: Faces, features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the principal components of what the prior leaves: canvas from coloured faces, detail from all."""
    coloured = torch.from_numpy(~faces.grey).float()
    canvas = _components(space.canvas, _canvas_rest(space, faces, features), weights * coloured)
    canvas = canvas * coloured[:, None]
    detail = _components(space.detail, _detail_rest(space, faces, features, canvas), weights)
    return canvas, detail


def _canvas_rest(space: FaceSpace, faces: Faces, features: Tensor) -> Tensor:
    """Compute the residual of colours and outline after the prior: (N, 7, S, S), small."""
    size, prior, each = space.config.canvas_pixels, space.prior, torch.eye(FEATURES)
    person, alpha_maps, behind = (_resized(m(each), size) for m in (prior.person, prior.alpha, prior.background))
    person[0] += _resized(prior.person_mean[None].float(), size)[0]
    rests = []
    for start in tqdm(range(0, len(features), BATCH), mininterval=20, desc="canvas"):
        rows = slice(start, start + BATCH)
        ours = [torch.einsum("bk,kchw->bchw", features[rows], maps) for maps in (person, alpha_maps, behind)]
        alpha, seen = pixels(faces, rows, "alpha", size), (pixels(faces, rows, "seen", size) > 0.99).float()
        rests.append(
            torch.cat(
                [
                    (pixels(faces, rows, "colours", size) - ours[0]) * alpha,
                    (alpha - outline(ours[1])) * OUTLINE_WEIGHT,
                    (pixels(faces, rows, "pictures", size) - ours[2]) * (1 - alpha),
                ],
                1,
            )
            * seen
        )
    return torch.cat(rests)


def _detail_rest(space: FaceSpace, faces: Faces, features: Tensor, canvas: Tensor) -> Tensor:
    """Compute the residual of the face's luminance after prior and canvas: (N, 1, S, S)."""
    side, fade = space.config.detail_pixels, _fade(space.config.detail_pixels)

    def inside(pictures: Tensor) -> Tensor:
        large = torch.nn.functional.interpolate(pictures, (SIZE, SIZE), mode="bicubic", align_corners=False)
        return _resized(luminance_of(large)[:, :, FACE_BOX[0], FACE_BOX[1]], side)

    prior = inside(space.prior.person(torch.eye(FEATURES)))
    prior[0] += inside(space.prior.person_mean[None].float())[0]
    basis = torch.cat([inside(space.canvas(one[None])[:, :3]) for one in torch.eye(space.config.canvas_size)])
    rests = []
    for row in range(len(features)):
        one = slice(row, row + 1)
        ours = torch.einsum("bk,kchw->bchw", features[one], prior) + torch.einsum("bk,kchw->bchw", canvas[one], basis)
        crop = faces.pictures[one, :, FACE_BOX[0], FACE_BOX[1]]
        theirs = _resized(luminance_of(torch.from_numpy(np.ascontiguousarray(crop)).float() / 255), side)
        if faces.grey[row]:  # brightness and contrast of a grey picture are the camera's
            scale = ours.std() / theirs.std().clamp_min(1e-3)
            theirs = (theirs - theirs.mean()) * scale + ours.mean()
        rests.append((theirs - ours) * fade)
    return torch.cat(rests)


def _resized(pictures: Tensor, size: int) -> Tensor:
    """Bring pictures to another size, without aliasing."""
    mode = "area" if size < pictures.shape[-1] else "bilinear"
    return torch.nn.functional.interpolate(pictures, (size, size), mode=mode)


def _components(maps: Maps, rest: Tensor, weights: Tensor) -> Tensor:
    """Store the main components of ``rest`` (N, C, H, W), one standard deviation each; return the coefficients (N, K)."""
    flat = rest.flatten(1)
    root = (weights / weights.sum()).sqrt()[:, None]
    scaled = flat * root
    spread, axes = torch.linalg.eigh(scaled @ scaled.T)
    count = min(len(maps.codes), int((weights > 0).sum()) - 1)
    order = spread.argsort(descending=True)[:count]
    spread, axes = spread[order].clamp_min(1e-12).sqrt(), axes[:, order]
    basis = (axes / spread).T @ scaled  # (K, P) of length 1
    rests_on = effective_people(flat @ basis.T, weights)
    spread = spread * (rests_on >= FEWEST)
    basis = basis * (rests_on >= FEWEST)[:, None]
    stored = torch.zeros(len(maps.codes), flat.shape[1])
    stored[:count] = basis * spread[:, None]
    maps.store(stored.view(len(maps.codes), *rest.shape[1:]))
    return torch.nn.functional.pad(flat @ basis.T / spread.clamp_min(1e-6), (0, len(maps.codes) - count))


def effective_people(coefficients: Tensor, weights: Tensor) -> Tensor:
    """Count the people that each component rests on, (K,), by the participation ratio: 1 for a single face."""
    energy = coefficients.square() * weights[:, None]
    return energy.sum(0).square() / energy.square().sum(0).clamp_min(1e-20)


def _fit_texture(space: FaceSpace, faces: Faces, features: Tensor, weights: Tensor) -> None:
    """Fit the local energies of detail, and its direction, on sharp pictures."""
    maps = space.prior.texture
    size = maps.codes.shape[-1]
    gram, moment = torch.zeros(size * size, FEATURES, FEATURES), torch.zeros(size * size, FEATURES, 4)
    sharp = np.random.default_rng(0).permutation(np.flatnonzero(weights.numpy() > 0))[:MOST_SHARP]
    for row in tqdm(sharp.tolist(), mininterval=20, desc="texture"):
        one = slice(row, row + 1)
        luminance = luminance_of(pixels(faces, one, "colours", SIZE))
        certain = pixels(faces, one, "alpha", size) * (pixels(faces, one, "seen", size) > 0.99)
        energy = torch.cat([local_energy(band) for band in bands(luminance)], 1)
        turned = direction(luminance)
        strength = turned.norm(dim=1, keepdim=True)
        coherent = blur(turned, 5.0) / blur(strength, 5.0).clamp_min(1e-8)
        found = torch.nn.functional.interpolate(torch.cat([energy, coherent], 1), (size, size), mode="area")
        for flipped in (False, True):
            pair = [found, certain * weights[row] / 2]
            if flipped:
                pair = [found.flip(-1) * found.new_tensor([1, 1, 1, -1]).view(1, 4, 1, 1), pair[1].flip(-1)]
            regress(pair[0], pair[1], features[one], gram, moment)
    maps.store(solved(gram, moment, size))


def _fade(size: int) -> Tensor:
    """Return weights (size, size): 1 inside, smoothly 0 at the borders of the face's box."""
    place = (torch.arange(size) + 0.5) / size
    ramp = smoothstep(place.minimum(1 - place), 0.0, 0.15)
    return ramp[:, None] * ramp


if __name__ == "__main__":
    main()
