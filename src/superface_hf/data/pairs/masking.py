"""MTM, SuperFace's mask training mechanism: regions of the driving signal are masked out and replaced by others'.

The renderer then learns that mouth, eyes, brows, gaze and pose are driven apart, as they are at inference, when the mouth
comes from speech, the eyes from a slider and the head from a video. The driving signal here is a :class:`Motion`, so a
region is replaced by its coefficients. What the loss compares with depends on where the other region comes from:

- from another frame of the same clip: a real picture is composed. That frame's region is warped along the meshes to where
  the target's head has it, and laid over the target. With all of the expression replaced, only the pose is the target's.
- from another clip, or neutral: no such picture exists, and the target counts nowhere near the region (``known`` is 0).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...face_model import topology
from ...face_model.linear import FaceModel
from ...face_model.mesh_flow import Spread, face_radius, identity_grid, pixel_centers, splat
from ...face_model.regions import LID_NEIGHBOURS, NOSE_BOTTOM
from ...motion import Motion
from ...motion.arkit import EXPRESSION_REGIONS
from ..degradations import check_share

# Regions that one picture can be composed of: parts of the face that do not overlap.
UPPER = ("eyes", "brows", "gaze")
PICTURED = (("mouth",), UPPER, EXPRESSION_REGIONS)
CANDIDATES = 8
# The points around which another frame's picture is laid in, and how far around, in radii of the face.
PATCHES = {
    "mouth": np.array([*topology.LIPS, *NOSE_BOTTOM[:2], 200, 201, 421, 18, 83, 313, 182, 406, 57, 287, 43, 273]),
    "upper": np.array(
        [*topology.LEFT_EYE, *topology.RIGHT_EYE, *LID_NEIGHBOURS, *topology.LEFT_BROW, *topology.RIGHT_BROW, 168, 9]
    ),
}
PATCH_WIDTH = 0.10
# A patch is worked on in a box that is wider than its points by this share of their extent, on a flow of so many cells.
BOX_MARGIN, FLOW_CELLS = 0.55, 64
BOX_RIM = 0.25  # the share of the box's half side over which what is in it goes over to what is around it
LIGHT_WIDTH = 0.35  # half the box's side is 1: how far differences in light at a patch's rim reach into it
DARKEST = (
    16.0  # 255ths added to both sides of a ratio of brightnesses, so that noise in the dark is no difference in light
)
# A point belongs to a region that moves it at least by this share of how far it moves any point.
MOVED = 0.35
KNOWN_WIDTH = 0.16  # radii of the face
KNOWN_FINER = 4


@dataclass(frozen=True)
class MaskingConfig:
    """How often regions are replaced, and by what.

    Attributes:
        share: share of the clips' pairs in which a region is.
        pictured: share of those that take it from another frame of the same clip, with a picture of it.
        neutral: share of the others that are brought to neutral; the rest takes the region from another clip.
        largest_turn: radians; a picture is composed only of frames whose heads are turned less against each other.
    """

    share: float = 0.3
    pictured: float = 0.6
    neutral: float = 0.3
    largest_turn: float = 0.15

    def __post_init__(self) -> None:
        for name in ("share", "pictured", "neutral", "largest_turn"):
            check_share("MaskingConfig", name, getattr(self, name))


@dataclass(frozen=True, eq=False)
class Replacement:
    """The motion that replaces regions of one pair's driving signal.

    Attributes:
        regions: the expression regions that are replaced.
        values: one frame that has them.
        frame: which kept frame of the same clip it is; None if there is no picture of it.
    """

    regions: tuple[str, ...]
    values: Motion
    frame: int | None

    def __call__(self, motion: Motion) -> Motion:
        """``motion`` (1 frame) with the regions replaced."""
        return motion.replace(dict.fromkeys(self.regions, self.values))


def draw_replacement(
    config: MaskingConfig, motion: Motion, target: int, other: Callable[[], Motion], rng: np.random.Generator
) -> Replacement | None:
    """Decide what is replaced in a pair; None leaves it as it is.

    Args:
        motion: of the clip's kept frames (J).
        target: which of them is the pair's target.
        other: gives one frame of another clip's motion; only called if it is needed.
    """
    if rng.random() >= config.share:
        return None
    if rng.random() < config.pictured:
        regions = PICTURED[int(rng.integers(len(PICTURED)))]
        frame = _likely_frame(config, motion, target, regions, rng)
        return None if frame is None else Replacement(regions, motion[frame], frame)
    regions = (EXPRESSION_REGIONS[int(rng.integers(len(EXPRESSION_REGIONS)))],)
    values = Motion.neutral(1, motion.fps) if rng.random() < config.neutral else other()
    return Replacement(regions, values, None)


def _likely_frame(
    config: MaskingConfig, motion: Motion, target: int, regions: tuple[str, ...], rng: np.random.Generator
) -> int | None:
    """Choose the frame whose regions differ most, of those whose heads are turned like the target's."""
    candidates = rng.integers(len(motion), size=CANDIDATES)
    turned = np.linalg.norm(motion.rotation[candidates] - motion.rotation[target], axis=1)
    candidates = candidates[(turned < config.largest_turn) & (candidates != target)]
    if len(candidates) == 0:
        return None
    changes = [getattr(motion, region)[candidates] - getattr(motion, region)[target] for region in regions]
    return int(candidates[np.square(np.concatenate(changes, axis=1)).sum(1).argmax()])


def composed_picture(
    target: np.ndarray, other: np.ndarray, meshes: tuple[np.ndarray, np.ndarray, np.ndarray], regions: tuple[str, ...]
) -> np.ndarray:
    """Return the target's picture with regions of another frame's.

    Args:
        target, other: (S, S, 3) uint8.
        meshes: landmarks (478, 3) in image coordinates of the target, of the other frame, and of the target with the other's
            regions.
        regions: as in ``PICTURED``.

    Returns:
        (S, S, 3) uint8.
    """
    own, theirs = (torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() for picture in (target, other))
    own_mesh, other_mesh, mixed = (torch.from_numpy(np.ascontiguousarray(mesh)).float() for mesh in meshes)
    for part in ("upper", "mouth"):
        if ("mouth" if part == "mouth" else "eyes") in regions:
            own = _patched(own, theirs, torch.stack((own_mesh, other_mesh)), mixed, PATCHES[part])
            own_mesh = _moved_part(own_mesh, mixed, part)
    return own.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


def _moved_part(mesh: Tensor, mixed: Tensor, part: str) -> Tensor:
    """Return the mesh of a picture of which one part is where ``mixed`` has it by now."""
    points = region_points(UPPER if part == "upper" else ("mouth",))
    moved = mesh.clone()
    moved[points] = mixed[points]
    return moved


def _patched(own: Tensor, other: Tensor, meshes: Tensor, mixed: Tensor, points: np.ndarray) -> Tensor:
    """Compose ``own`` (3, S, S) with ``other`` around some points, both warped from ``meshes`` (2, 478, 3) to ``mixed``."""
    size = own.shape[-1]
    box = _Box.around(mixed[points], size)
    around, local = box.inside(mixed)[None], box.inside(meshes)
    displacement = Spread.of(around.expand(2, -1, -1), FLOW_CELLS)((local - around)[..., :2])
    displacement = F.interpolate(displacement, size=(box.side, box.side), mode="bilinear", align_corners=False)
    # The target's own picture stays in place at the box's rim.
    rim = ((1 - pixel_centers(box.side, own).abs()) / BOX_RIM).clamp(0, 1)
    rim = rim[:, None] * rim
    displacement[0] *= rim
    grid = box.outside(identity_grid(box.side, own) + displacement.permute(0, 2, 3, 1))
    pictures = F.grid_sample(torch.stack((own, other)), grid, padding_mode="border", align_corners=False)
    mask = patch_mask(around, points, box.side)[0] * rim
    blended = torch.lerp(pictures[0], _in_light_of(pictures[0], pictures[1], mask), mask)
    result = own.clone()
    rows, columns = box.slices
    result[:, rows, columns] = blended[:, box.visible[0], box.visible[1]]
    return result


@dataclass(frozen=True)
class _Box:
    """A square of pixels in a picture of ``size``; it may reach beyond the picture."""

    left: int
    top: int
    side: int
    size: int

    @classmethod
    def around(cls, points: Tensor, size: int) -> _Box:
        low, high = points[:, :2].amin(0), points[:, :2].amax(0)
        side = round(float((high - low).max()) * (1 + 2 * BOX_MARGIN) * size / 2)
        left, top = (((low + high) / 2 + 1) * size / 2 - side / 2).round().int().tolist()
        return cls(left, top, max(8, side), size)

    @property
    def _frame(self) -> tuple[Tensor, float]:
        """Middle (2,) and half the side in image coordinates."""
        half = self.side / self.size
        corner = torch.tensor([self.left, self.top]) * (2 / self.size) - 1
        return corner + half, half

    def inside(self, mesh: Tensor) -> Tensor:
        """Return the landmarks (..., 3) of the picture in the box's own image coordinates."""
        middle, half = self._frame
        return (mesh - F.pad(middle, (0, 1))) / half

    def outside(self, grid: Tensor) -> Tensor:
        """Convert places (..., 2) from the box's image coordinates to the picture's."""
        middle, half = self._frame
        return grid * half + middle

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rows and columns of the picture that the box covers."""
        return tuple(slice(max(0, a), max(0, min(self.size, a + self.side))) for a in (self.top, self.left))  # type: ignore[return-value]

    @property
    def visible(self) -> tuple[slice, slice]:
        """The rows and columns of the box that lie in the picture."""
        return tuple(
            slice(part.start - a, part.stop - a) for part, a in zip(self.slices, (self.top, self.left), strict=True)
        )  # type: ignore[return-value]


def patch_mask(landmarks: Tensor, points: np.ndarray, size: int) -> Tensor:
    """Return masks (B, 1, size, size), 1 around some points and softly 0 beyond, for (B, 478, 3) in image coordinates."""
    return _around(landmarks, points, PATCH_WIDTH, size)


def _around(landmarks: Tensor, points: np.ndarray, width: float, size: int) -> Tensor:
    chosen = landmarks[:, points]
    dots = splat(chosen, torch.ones_like(chosen[..., :1]), width * face_radius(landmarks)[:, None], size)
    # One point alone gives 1 in its middle, so the mask is 1 at all points and between neighbours.
    mask = ((dots - 0.1) / 0.7).clamp(0, 1)
    return mask * mask * (3 - 2 * mask)


def _in_light_of(own: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    """Make ``other`` (3, n, n) as bright as ``own`` on the rim of a mask (1, n, n), and smoothly so inside it."""
    rim = mask * (1 - mask)
    layers = torch.cat((rim * (own + DARKEST), rim * (other + DARKEST)))
    small = F.interpolate(layers[None], size=(FLOW_CELLS, FLOW_CELLS), mode="bilinear", antialias=True)
    axis = pixel_centers(FLOW_CELLS, own)
    kernel = torch.exp(-0.5 * ((axis[:, None] - axis) / LIGHT_WIDTH).square())
    ours, theirs = (kernel @ small @ kernel).clamp_min(1e-6).chunk(2, dim=1)
    gain = F.interpolate(ours / theirs, size=own.shape[-2:], mode="bilinear")[0]
    return (other + DARKEST) * gain - DARKEST


def known_map(meshes: tuple[np.ndarray, np.ndarray], regions: tuple[str, ...], cells: int) -> np.ndarray:
    """Map where the target's picture is still right after regions were replaced: (cells, cells) float32 in [0, 1].

    ``meshes`` are the landmarks (478, 3) in image coordinates of the target and of the driving mesh: the region is unknown
    where either has it.
    """
    stacked = torch.from_numpy(np.stack(meshes)).float()
    # Drawn finer than given out, as an iris may lie between the middles of the cells.
    unknown = _around(stacked, region_points(regions), KNOWN_WIDTH, KNOWN_FINER * cells).amax(0, keepdim=True)
    return 1 - F.max_pool2d(unknown, KNOWN_FINER)[0, 0].numpy()


@lru_cache
def region_points(regions: tuple[str, ...]) -> np.ndarray:
    """Return the points that expression regions move, ascending."""
    model = FaceModel.default()
    moves = torch.stack([model.bases[region].square().sum((0, 2)).sqrt() for region in regions])
    return np.flatnonzero((moves > MOVED * moves.amax(1, keepdim=True)).any(0).numpy())
