"""The dense flow that two meshes imply: landmarks move, and the picture between them follows.

Nothing here is learned. Each output pixel follows the displacement of its nearest driving landmarks. The kernels are Gaussians,
which separate into rows and columns, so a dense field over 478 points costs two small matrix products instead of a distance
matrix.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

# The kernel of a landmark is as wide as the distance to its neighbours, within these bounds (in radii of the face): narrow on
# lips and lids, where near points move against each other, and wide on the cheeks, where gaps would show as a saw-tooth.
NARROWEST, WIDEST = 0.05, 0.20
NEIGHBOURS = 3
# Wider kernels, the same for all points: widths (in radii) and weights. Each weighs so little that it matters only where the
# narrower ones have vanished. Together they act like a smooth nearest-neighbour interpolation.
FAR_KERNELS = ((0.15, 1e-2), (0.45, 1e-5), (1.5, 1e-8))
# Away from the mesh the flow fades to rest over this distance, in radii.
FADE_WIDTH = 0.50
# The mesh ends at the hairline and the jaw; where the density is this share of the highest density, the flow has faded to one
# half. Both values were chosen for the best PSNR on training clips, so that the baseline is a fair one.
FADE_LEVEL = 0.01


def pixel_centers(size: int, like: Tensor) -> Tensor:
    """Return the centres (size,) of ``size`` pixels along one axis of a picture whose outer edges are -1 and 1."""
    return (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) * (2.0 / size) - 1.0


def identity_grid(size: int, like: Tensor) -> Tensor:
    """Return the sampling grid (1, size, size, 2) that leaves a picture as it is (``align_corners=False``)."""
    axis = pixel_centers(size, like)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack((x, y), dim=-1)[None]


def face_radius(landmarks: Tensor) -> Tensor:
    """Return the radius (B,) of a face: the root mean square distance of its points (B, N, >=2) from their centre, in
    the picture's plane."""
    plane = landmarks[..., :2]
    return (plane - plane.mean(1, keepdim=True)).square().sum(-1).mean(1).sqrt()


def splat(points: Tensor, values: Tensor, width: Tensor, size: int) -> Tensor:
    """Draw Gaussians at ``points`` (B, N, >=2) that carry ``values`` (B, N, C), and return their sum (B, C, size,
    size).

    ``width`` is (B, N), or (B, 1) for all points alike.
    """
    axis = pixel_centers(size, points)
    precision = (0.5 / width.square())[..., None]
    columns = torch.exp(-(points[:, :, 0:1] - axis).square() * precision)  # (B, N, size)
    rows = torch.exp(-(points[:, :, 1:2] - axis).square() * precision)
    carried = values.transpose(1, 2)[:, :, :, None] * columns[:, None]  # (B, C, N, size)
    return rows.transpose(1, 2)[:, None] @ carried


class Spread:
    """Interpolates values of landmarks over the whole picture. The kernels are made once, for any number of values.

    Args:
        points: (B, N, >=2) where the landmarks are.
        near: (B, N) or (B, 1) how wide their narrowest kernels are.
        radius: (B, 1) of the face.
        size: side of the field in cells.
        weights: (B, N) how much each landmark counts; alike by default.
    """

    def __init__(self, points: Tensor, near: Tensor, radius: Tensor, size: int, weights: Tensor | None = None) -> None:
        axis = pixel_centers(size, points)
        across = -(points[:, :, 0:1] - axis).square()
        down = -(points[:, :, 1:2] - axis).square()
        columns, rows = [], []
        # One product of all kernels is quicker than one of each.
        for width, weight in ((near, 1.0), *((width * radius, weight) for width, weight in FAR_KERNELS)):
            precision = (0.5 / width.square())[..., None]
            columns.append(weight * torch.exp(across * precision))
            rows.append(torch.exp(down * precision))
        if weights is not None:
            columns = [column * weights[..., None] for column in columns]
        self._kernels = len(rows)
        self._columns, self._rows = torch.cat(columns, dim=1), torch.cat(rows, dim=1).transpose(1, 2)
        self._density = (self._rows @ self._columns)[:, None].clamp_min(1e-30)

    @classmethod
    def of(cls, points: Tensor, size: int, weights: Tensor | None = None) -> Spread:
        """Make the kernels from the landmarks (B, N, >=2) alone: as wide as the distance to their neighbours."""
        radius = face_radius(points)[:, None]
        near = neighbour_distance(points).clamp_min(NARROWEST * radius).minimum(WIDEST * radius)
        return cls(points, near, radius, size, weights)

    def __call__(self, values: Tensor) -> Tensor:
        """Spread values (B, N, C) over a field (B, C, size, size)."""
        carried = values.transpose(1, 2).repeat(1, 1, self._kernels)[..., None] * self._columns[:, None]
        return (self._rows[:, None] @ carried) / self._density


def neighbour_distance(points: Tensor) -> Tensor:
    """Return the mean distance (B, N) of each point (B, N, >=2) to its nearest neighbours in the picture's plane."""
    plane = points[..., :2]
    nearest = torch.cdist(plane, plane).topk(NEIGHBOURS + 1, largest=False).values
    return nearest[..., 1:].mean(-1).detach()


def face_fade(points: Tensor, size: int) -> Tensor:
    """Return a mask (B, 1, size, size) for points (B, N, 3): 1 on the mesh, falling smoothly to 0 in the background."""
    density = splat(points, torch.ones_like(points[..., :1]), FADE_WIDTH * face_radius(points)[:, None], size)
    level = FADE_LEVEL * density.amax((2, 3), keepdim=True)
    return density / (density + level)


def mesh_flow(source: Tensor, driving: Tensor, size: int, rounds: int = 0) -> tuple[Tensor, Tensor]:
    """Return the backward flow from the driving mesh to the source mesh.

    Args:
        source, driving: (B, 478, 3) landmarks in image coordinates.
        size: side of the field in cells.
        rounds: how often the error at the landmarks is added to the flow. The kernels average the motion of near landmarks: a
            brow between lids and forehead moves two thirds of its way without any round.

    Returns:
        The displacement (B, 2, size, size) in image units, not yet faded, and the fade (B, 1, size, size) in [0, 1]. The
        plain mesh-flow warp samples the source at ``identity + displacement * fade``.
    """
    wanted = (source - driving)[..., :2]
    spread = Spread.of(driving, size)
    displacement = spread(wanted)
    for _ in range(rounds):
        displacement = displacement + spread(wanted - at_landmarks(displacement, driving))
    return displacement, face_fade(driving, size)


def at_landmarks(field: Tensor, points: Tensor) -> Tensor:
    """Sample a field (B, C, size, size) at ``points`` (B, N, >=2): (B, N, C)."""
    grid = points[:, :, None, :2]
    sampled = torch.nn.functional.grid_sample(field, grid, padding_mode="border", align_corners=False)
    return sampled[..., 0].transpose(1, 2)


def rigid_motion(source: Tensor, driving: Tensor) -> Tensor:
    """Return the affine map that takes driving landmarks to the source's, by least squares.

    Returns:
        (B, 3, 4): columns for x, y, z and 1. Under weak perspective a turned head is exactly such a map, so the same
        matrix moves what the mesh does not cover (hair, ears) once its depth is known.
    """
    ones = torch.ones_like(driving[..., :1])
    points = torch.cat((driving, ones), dim=-1)
    # Regularise the depth column most: depth is the landmarks' least reliable coordinate.
    ridge = torch.diag(points.new_tensor([1e-4, 1e-4, 1e-2, 1e-4])) * points.shape[1] * 0.01
    normal = points.transpose(1, 2) @ points + ridge
    rest = torch.eye(3, 4, device=points.device, dtype=points.dtype)
    residual = source - points @ rest.T
    return rest + torch.linalg.solve(normal, points.transpose(1, 2) @ residual).transpose(1, 2)


def rigid_flow(motion: Tensor, depth: Tensor, size: int) -> Tensor:
    """Return the displacement of the whole head at the given depths, from the first two rows of :func:`rigid_motion`.

    Args:
        motion: (B, 2, 4).
        depth: (B, D).
        size: side of the field in cells.

    Returns:
        (B, D, 2, size, size) in image units.
    """
    grid = identity_grid(size, motion)[0].permute(2, 0, 1)  # (2, size, size)
    plane = torch.einsum("bij,jhw->bihw", motion[:, :, :2], grid) + motion[:, :, 3, None, None] - grid
    return plane[:, None] + depth[:, :, None, None, None] * motion[:, None, :, 2, None, None]


def warp(picture: Tensor, displacement: Tensor, mode: Literal["bilinear", "bicubic"] = "bilinear") -> Tensor:
    """Sample ``picture`` (B, C, H, W) at identity + ``displacement`` (B, 2, S, S), resized to the picture's size.

    Between pixels, bilinear sampling blurs; bicubic keeps fine texture but may leave the range of the picture a little.
    """
    size = picture.shape[-1]
    if displacement.shape[-1] != size:
        displacement = torch.nn.functional.interpolate(
            displacement, size=(size, size), mode="bilinear", align_corners=False
        )
    grid = identity_grid(size, displacement) + displacement.permute(0, 2, 3, 1)
    return torch.nn.functional.grid_sample(
        picture, grid.to(picture.dtype), mode=mode, padding_mode="border", align_corners=False
    )
