"""Batches of sources and targets, cut out and laid in layers on the device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...face_model.coordinates import FACE_CENTRE, FACE_SHARE
from ...face_model.linear import FaceModel
from ...face_model.mesh_flow import identity_grid, warp
from ...layers.motion import Window, beside_seams, layer_flow
from ..mattes import LUMINANCE, NOBODY, exact_matte, grown, known_plate, person_colours, pull_push
from .shards import PackedClip, PackedPortrait, inverse_pose

# Windows are drawn around the true one: sizes by this factor either way, places by this share of its side. This share of the
# targets is seen in the window of the source, as a head that moves little will be.
SIZE_JITTER, PLACE_JITTER, STAYING = 1.08, 0.03, 0.7
# Of clips narrower than this the finest pixels are not known.
SHARP_SIDE = 400
# Share of the items that are seen in a mirror, and of those without colour; how far light and colour are varied.
MIRRORED, GREY, LIGHT, COLOUR = 0.5, 0.05, 0.35, 0.12
# Radians between source and target: farther, a picture holds too little of what the other shows.
LARGEST_TURN = 0.75
# One target of a pair is the one, of so many drawn, whose mouth differs most from the source's.
DRAWN = 4


@dataclass(eq=False)
class LayeredBatch:
    """B sources, each with M targets; the targets of a source follow each other.

    Attributes:
        source: (B, 3, S, S) the person's colours in [0, 1]; ``matte`` (B, 1, S, S); ``landmarks`` (B, 478, 3) in its window.
        target: (B M, 3, S, S), ``target_matte`` (B M, 1, S, S), ``driving`` (B M, 478, 3) in the SOURCE's window.
        window: where the targets' windows lie in the sources'.
        plate: (B M, 3, S, S) what lies behind the targets' persons, as far as it is known.
        known: (B M, 1, S, S) 1 where the targets' windows lie in the footage.
        sharp: (B M,) bool, whether the footage has the window's resolution.
    """

    source: Tensor
    matte: Tensor
    landmarks: Tensor
    target: Tensor
    target_matte: Tensor
    driving: Tensor
    window: Window
    plate: Tensor
    known: Tensor
    sharp: Tensor


class Batches:
    """Draws batches: each person as often, with many clips or few; a share of them from still portraits.

    Args:
        clips, portraits: of the shards.
        size: side S of the windows.
        targets: M.
        stills: share of the sources that are portraits, warped to another's motion; their target is the portrait itself.
    """

    def __init__(
        self,
        clips: list[PackedClip],
        portraits: list[PackedPortrait],
        size: int,
        targets: int,
        stills: float,
    ) -> None:
        self.clips, self.portraits = clips, portraits
        self.size, self.targets, self.stills = size, targets, stills
        self.rng = np.random.default_rng()
        persons: dict[int, list[PackedClip]] = {}
        for clip in clips:
            persons.setdefault(clip.person, []).append(clip)
        self.persons = list(persons.values())

    def draw(self, sources: int, rng: np.random.Generator) -> LayeredBatch:
        """Return a batch of ``sources`` sources; what is drawn follows from ``rng`` alone."""
        self.rng = rng
        parts = [self._still() if self._is_still() else self._pair() for _ in range(sources)]
        joined = [torch.cat(values) for values in zip(*parts, strict=True)]
        source, matte, landmarks, target, target_matte, driving, centre, scale, known, sharp = joined
        matte, target_matte = exact_matte(source, matte), exact_matte(target, target_matte)
        own_plate = pull_push(source, (grown(matte) < NOBODY).float())
        return LayeredBatch(
            person_colours(source, matte, own_plate), matte, landmarks, target, target_matte, driving, Window(centre, scale),
            self._plates(source, matte, target, target_matte, centre, scale), known, sharp,
        )  # fmt: skip

    def _is_still(self) -> bool:
        return bool(self.portraits) and self.rng.random() < self.stills

    def _pair(self) -> tuple[Tensor, ...]:
        clips = self.persons[self.rng.integers(len(self.persons))]
        lengths = np.array([len(clip.frames) for clip in clips], float)
        clip = clips[self.rng.choice(len(clips), p=lengths / lengths.sum())]
        source = int(self.rng.integers(len(clip.sources)))
        at = clip.sources[source]
        drawn = self.rng.integers(len(clip.frames), size=4 * (DRAWN + self.targets - 1))
        turned = np.linalg.norm(clip.rotation[drawn] - clip.rotation[at], axis=1)
        # Those within reach, as they were drawn; after them the nearest of the others.
        drawn = drawn[np.argsort(np.maximum(turned, LARGEST_TURN), kind="stable")]
        most = int(np.abs(clip.opening[drawn[:DRAWN]] - clip.opening[at]).argmax())
        chosen = [int(drawn[most]), *drawn[DRAWN : DRAWN + self.targets - 1].tolist()]
        meshes = clip.driving(source, torch.tensor(chosen, device=clip.frames.device))
        sharp = torch.tensor([clip.frames.shape[1] >= min(SHARP_SIDE, self.size)] * self.targets, device=meshes.device)
        pictures, mattes = clip.frames[[at, *chosen]], clip.mattes[[at, *chosen]]
        own = clip.source_landmarks[source][None]
        return self._cut(_floats(pictures), _floats(mattes[..., None]), own, meshes, sharp)

    def _still(self) -> tuple[Tensor, ...]:
        """Make an item of a portrait: the source is the portrait moved by the layers, the target the portrait itself."""
        portrait = self.portraits[self.rng.integers(len(self.portraits))]
        clips = self.persons[self.rng.integers(len(self.persons))]
        clip = clips[self.rng.integers(len(clips))]
        first, second = (int(frame) for frame in self.rng.integers(len(clip.frames), size=2))
        own = portrait.landmarks[None]
        moved = _borrowed(own[0], clip, first, second)[None]
        picture = _floats(portrait.picture[None])
        matte = F.interpolate(_floats(portrait.matte[None, ..., None]), size=picture.shape[-1], mode="bilinear")
        layer = layer_flow(own, moved, 128)
        flow = beside_seams(layer, layer, own, moved)
        behind = pull_push(picture, (grown(matte) < NOBODY).float())
        alpha = warp(matte, flow)
        source = (
            alpha * warp(person_colours(picture, matte, behind), flow, "bicubic").clamp(0, 1) + (1 - alpha) * behind
        )
        pictures = torch.cat((source, *[picture] * self.targets))
        mattes = torch.cat((alpha, *[matte] * self.targets))
        sharp = torch.ones(self.targets, dtype=torch.bool, device=own.device)
        return self._cut(pictures, mattes, moved, own.expand(self.targets, -1, -1), sharp)

    def _cut(self, pictures: Tensor, mattes: Tensor, own: Tensor, meshes: Tensor, sharp: Tensor) -> tuple[Tensor, ...]:
        """Return the windows of one source (the first picture) and its targets, all in one picture's coordinates."""
        points = torch.cat((own, meshes))
        low, high = points[..., :2].amin(1), points[..., :2].amax(1)
        side = (high - low).amax(-1) / FACE_SHARE
        middle = (low + high) / 2 + (0.5 - side.new_tensor(FACE_CENTRE)) * side[:, None]
        jitter = torch.from_numpy(self.rng.uniform(-1, 1, size=(len(points), 3)).astype(np.float32)).to(points.device)
        scale = side / 2 * torch.exp(math.log(SIZE_JITTER) * jitter[:, 0])
        middle = middle + 2 * PLACE_JITTER * scale[:, None] * jitter[:, 1:]
        if self.rng.random() < STAYING:
            middle, scale = middle[:1].expand_as(middle), scale[:1].expand_as(scale)
        grid = identity_grid(self.size, points) * scale[:, None, None, None] + middle[:, None, None]
        cut = F.grid_sample(pictures, grid, mode="bicubic", padding_mode="border", align_corners=False).clamp(0, 1)
        cut = self._relit(cut)
        cut_mattes = F.grid_sample(mattes, grid, padding_mode="border", align_corners=False)
        known = ((grid[1:].abs() <= 1).all(-1))[:, None].float()
        first = Window(middle[:1], scale[:1])
        inside, driving = first.enter(own), first.enter(meshes)
        centre, relative = (middle[1:] - middle[:1]) / scale[:1, None], scale[1:] / scale[:1]
        if self.rng.random() < MIRRORED:
            cut, cut_mattes, known = cut.flip(-1), cut_mattes.flip(-1), known.flip(-1)
            inside, driving = mirrored(inside), mirrored(driving)
            centre = centre * centre.new_tensor([-1.0, 1.0])
        return cut[:1], cut_mattes[:1], inside, cut[1:], cut_mattes[1:], driving, centre, relative, known, sharp

    def _relit(self, pictures: Tensor) -> Tensor:
        """Change contrast and colour balance of all pictures of an item alike."""
        gamma = math.exp(self.rng.uniform(-LIGHT, LIGHT))
        gains = np.exp(self.rng.uniform(-COLOUR, COLOUR, size=3)).astype(np.float32)
        pictures = (pictures**gamma * torch.from_numpy(gains).to(pictures.device)[:, None, None]).clamp(0, 1)
        if self.rng.random() < GREY:
            pictures = (
                (pictures * pictures.new_tensor(LUMINANCE)[:, None, None]).sum(1, keepdim=True).expand_as(pictures)
            )
        return pictures

    def _plates(
        self, source: Tensor, matte: Tensor, target: Tensor, target_matte: Tensor, centre: Tensor, scale: Tensor
    ) -> Tensor:
        """Compose plates: the target's background, the source's where the person hides it, and else the nearest pixels."""
        rest = Window(centre, scale).leave(torch.zeros(len(target), 2, 64, 64, device=target.device))
        behind = warp(source.repeat_interleave(self.targets, 0), rest)
        return known_plate(behind, warp(matte.repeat_interleave(self.targets, 0), rest), target, target_matte)


def _floats(pictures: Tensor) -> Tensor:
    return pictures.permute(0, 3, 1, 2).float() / 255


def mirrored(points: Tensor) -> Tensor:
    """Return the landmarks (B, 478, 3) as they are in a mirror."""
    swapped = points[:, FaceModel.default().mirror.to(points.device)]
    return swapped * swapped.new_tensor([-1.0, 1.0, 1.0])


def _borrowed(own: Tensor, clip: PackedClip, first: int, second: int) -> Tensor:
    """Return the landmarks (478, 3) moved as the clip's person moves from one frame to another, about their own middle."""
    middle, other = own.mean(0), clip.meshes[first].mean(0)
    size = (own[263] - own[33]).norm() / (clip.meshes[first, 263] - clip.meshes[first, 33]).norm()
    moved = clip.meshes[second] - clip.meshes[first]
    shift = (clip.meshes[second].mean(0) - other).clamp(-0.15, 0.15) - (clip.meshes[second].mean(0) - other)
    turn = clip.poses[second] @ inverse_pose(clip.poses[first])
    # The clip's person explains expression and turn; where the two faces differ, the difference turns along.
    shape = (own - middle) - size * (clip.meshes[first] - other)
    return middle + size * (clip.meshes[first] - other + moved + shift) + shape @ turn.T
