"""The motions that a student learns from: all kinds that may drive it, on its own portrait's face.

A bank is a list of meshes in an order that is already mixed, so that the first part of it is as broad as all of it. What a
student is judged by is held out: the middles of tracked motions and of speech, and mixtures of these on heads of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..animation.portrait import Portrait
from ..animation.retargeting import Changes, Retargeter, on_portrait
from ..drivers.audio import speech_to_motion
from ..drivers.idle import IdleMotion
from ..face_model.coordinates import Square
from ..face_model.linear import FaceModel
from ..layers.motion import Window
from ..media import load_sound
from ..models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
from ..motion import Motion
from ..motion.arkit import ARKIT_NAMES
from ..motion.bundled import BUNDLED_MOTIONS, bundled_motion
from ..motion.rotations import rotation_matrix, rotation_vector
from ..utils.assets import SPEECH

FPS = 25.0
# Of tracked motions, the middle is held out (they begin and end at rest, which is too easy), and a little before and after it
# is not used at all: neighbouring frames are alike.
HELD_OUT, GAP = 0.2, 0.05
# Sampled heads: standard deviations and limits of pitch, yaw and roll in radians; of shifts in image units, and of log size.
# Tracked people in conversation stay within the limits for 99% of the time.
TURN_SPREAD, TURN_LIMIT = np.array([0.13, 0.22, 0.10]), np.array([0.35, 0.55, 0.35])
SHIFT_SPREAD, GROWTH_SPREAD = 0.05, 0.06
# Sampled gaze in radians: right and down.
GAZE_SPREAD, GAZE_LIMIT = np.array([0.25, 0.12]), np.array([0.5, 0.3])
# Frames' windows stray so far from the faces' middles, in half sides, and so much in size (logarithms).
PLACE_JITTER, SIZE_JITTER = 0.05, 0.06
# How the bank is made up; what a person's own videos give comes on top.
SHARES = {"tracked": 0.15, "speech": 0.20, "mixtures": 0.45, "blendshapes": 0.12, "poses": 0.08}


@dataclass(frozen=True, eq=False)
class MotionBank:
    """Meshes in image coordinates of the portrait's crop, and where each is from.

    Attributes:
        names, landmarks: (N, 478, 3) float32, mixed.
        windows: (N, 3) where the frames are made: middles and sizes, a little aside of where the faces are expected.
        held_out_names, held_out: (M, 478, 3), evenly spread over what is held out.
        held_out_windows: (M, 3) around the faces.
    """

    names: list[str]
    landmarks: Tensor
    windows: Tensor
    held_out_names: list[str]
    held_out: Tensor
    held_out_windows: Tensor


@dataclass(frozen=True, eq=False)
class Track:
    """A named motion; ``mouth`` is true where its mouth comes from speech and is absolute."""

    name: str
    motion: Motion
    spoken: bool = False


def bundled_tracks(audio_to_lip: SuperFaceAudioToLipModel) -> list[Track]:
    """Load the bundled motions, and the bundled sentence as speech with idle motion."""
    tracks = [Track(name, bundled_motion(name).resample(FPS)) for name in BUNDLED_MOTIONS]
    idle = IdleMotion(seed=11, strength=1.5)
    return [*tracks, Track("speech", speech_to_motion(load_sound(SPEECH), FPS, audio_to_lip, idle), spoken=True)]


def build_bank(
    portrait: Portrait,
    tracks: Sequence[Track],
    own: Iterable[Motion] = (),
    frames: int = 6000,
    held_out: int = 48,
    seed: int = 0,
    face_model: FaceModel | None = None,
) -> MotionBank:
    """Build the bank of motions that a student learns from.

    Args:
        tracks: see :func:`bundled_tracks`; each is cut into a part to learn from and a part that is held out.
        own: motions tracked in the person's own videos, on top.
        frames: how many meshes to learn from, at most.
        held_out: how many meshes to judge by.
    """
    face_model = face_model or FaceModel.default()
    rng = np.random.default_rng(seed)
    tracks = [*tracks, *(Track(f"own video {number}", motion.resample(FPS)) for number, motion in enumerate(own, 1))]
    learnt: dict[str, list[Tensor]] = {name: [] for name in SHARES}
    rest: list[tuple[str, Tensor]] = []
    seen: list[Motion] = []
    unseen: list[Motion] = []
    for track in tracks:
        mouth = track.motion.mouth if track.spoken else None
        moved, points = on_portrait(track.motion, portrait, face_model, mouth)
        middle, around = _parted(len(moved))
        learnt["speech" if track.spoken else "tracked"] += [points[part] for part in around]
        seen += [replace(moved[part], fps=FPS) for part in around]
        unseen.append(replace(moved[middle], fps=FPS))
        rest.append((track.name, points[middle]))
    tracked = Motion.concatenate(seen)
    count = {name: max(1, round(share * frames)) for name, share in SHARES.items()}
    sampled = {
        "mixtures": _mixtures(tracked, portrait.motion, count["mixtures"], rng),
        "blendshapes": _blendshapes(tracked, portrait.motion, count["blendshapes"], rng),
        "poses": _poses(portrait.motion, count["poses"], rng),
    }
    for name, motion in sampled.items():
        learnt[name].append(_placed(motion, portrait, face_model))
    others = _mixtures(
        Motion.concatenate(unseen), portrait.motion, max(2, held_out // 4), np.random.default_rng(seed + 1)
    )
    rest.append(("mixtures", _placed(others, portrait, face_model)))
    names, parts = [], []
    for name, several in learnt.items():
        if not several:
            continue
        points = torch.cat(several)
        points = points[torch.from_numpy(rng.permutation(len(points))[: count[name]])]
        names += [name] * len(points)
        parts.append(points)
    order = rng.permutation(len(names))
    landmarks = torch.cat(parts)[torch.from_numpy(order)]
    held_names, held = _evenly(rest, held_out)
    own = torch.from_numpy(portrait.landmarks)
    windows = windows_of(landmarks, portrait.crop, own)
    aside = torch.from_numpy(rng.uniform(-1, 1, windows.shape)).float()
    windows[:, :2] += PLACE_JITTER * windows[:, 2:] * aside[:, :2]
    windows[:, 2] *= torch.exp(SIZE_JITTER * aside[:, 2])
    return MotionBank(
        [names[index] for index in order], landmarks, windows, held_names, held, windows_of(held, portrait.crop, own)
    )


def windows_of(landmarks: Tensor, crop: Square, own: Tensor) -> Tensor:
    """Return the frames' windows for meshes (N, 478, 3) of a portrait whose own landmarks are (478, 3): middles and sizes, (N,
    3)."""
    window = Window.following(crop, own, landmarks)
    return torch.cat((window.centre, window.scale[:, None]), dim=1)


def _parted(frames: int) -> tuple[slice, list[slice]]:
    """Split so many frames into those held out, and those before and after."""
    begin, end, gap = frames * (1 - HELD_OUT) / 2, frames * (1 + HELD_OUT) / 2, frames * GAP
    middle = slice(int(begin), max(int(begin) + 1, round(end)))
    around = [slice(0, round(begin - gap)), slice(round(end + gap), frames)]
    return middle, [part for part in around if part.stop > part.start]


def _placed(motion: Motion, portrait: Portrait, face_model: FaceModel) -> Tensor:
    """Return the meshes (T, 478, 3) of a motion that is the portrait's own already."""
    rest = replace(portrait.motion, fps=motion.fps)
    retarget = Retargeter(portrait, Changes.checked(True, None, None, motion.fps), face_model)
    retarget(rest)  # the frame that changes are measured from
    return retarget(motion)[1]


def _repeated(rest: Motion, frames: int) -> Motion:
    return Motion.concatenate([replace(rest, fps=FPS)] * frames)


def _turned(motion: Motion, rng: np.random.Generator, strength: tuple[float, float]) -> Motion:
    """Sample a head pose for each frame around its own, at a distance between two shares of the spreads."""
    frames = len(motion)
    strengths = rng.uniform(*strength, (frames, 1))
    turns = np.clip(strengths * TURN_SPREAD * rng.standard_normal((frames, 3)), -TURN_LIMIT, TURN_LIMIT)
    rotation = rotation_vector(rotation_matrix(motion.rotation) @ rotation_matrix(turns))
    return replace(
        motion,
        rotation=rotation,
        translation=motion.translation + strengths * SHIFT_SPREAD * rng.standard_normal((frames, 2)),
        scale=motion.scale * np.exp(strengths[:, 0] * GROWTH_SPREAD * rng.standard_normal(frames)),
    )


def _with_gaze(motion: Motion, rng: np.random.Generator, share: float = 0.5) -> Motion:
    """Sample gazes, the same for both eyes, in some frames."""
    frames = len(motion)
    look = np.clip(GAZE_SPREAD * rng.standard_normal((frames, 2)), -GAZE_LIMIT, GAZE_LIMIT)
    chosen = rng.random((frames, 1)) < share
    return replace(motion, gaze=motion.gaze + chosen * np.tile(look, 2))


def _with_blinks(motion: Motion, rng: np.random.Generator, share: float = 0.3) -> Motion:
    """Shut the eyes partly or fully in some frames, mostly both alike."""
    frames = len(motion)
    lids = Motion.neutral(1, FPS).edit({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}).eyes[0]
    both = rng.uniform(0, 1.05, (frames, 1)) * (rng.random((frames, 1)) < share)
    wink = np.where(rng.random((frames, 2)) < 0.15, rng.uniform(0, 1, (frames, 2)), both)
    return replace(motion, eyes=motion.eyes + np.repeat(wink, len(lids) // 2, axis=1) * lids)


def _mixtures(tracked: Motion, rest: Motion, frames: int, rng: np.random.Generator) -> Motion:
    """Mix mouths, eyes and brows of different moments on sampled heads, as edits and combined drivers do."""
    moments = {region: rng.integers(len(tracked), size=frames) for region in ("mouth", "eyes", "brows")}
    mixed = replace(
        _repeated(rest, frames), **{region: getattr(tracked, region)[index] for region, index in moments.items()}
    )
    return _with_blinks(_with_gaze(_turned(mixed, rng, (0.1, 1.0)), rng), rng)


def _blendshapes(tracked: Motion, rest: Motion, frames: int, rng: np.random.Generator) -> Motion:
    """Sample one to four ARKit blendshapes at a time, each of them often."""
    scores = np.zeros((frames, len(ARKIT_NAMES)), np.float32)
    for frame in range(frames):
        others = rng.choice(len(ARKIT_NAMES), size=rng.integers(0, 4), replace=False)
        scores[frame, others] = rng.uniform(0, 0.8, len(others))
        scores[frame, frame % len(ARKIT_NAMES)] = rng.uniform(0.3, 1.0)
    shapes = Motion.from_arkit(scores, FPS)
    still = _repeated(rest, frames)
    added = {region: getattr(still, region) + getattr(shapes, region) for region in ("mouth", "eyes", "brows", "gaze")}
    return _turned(replace(still, **added), rng, (0.0, 0.6))


def _poses(rest: Motion, frames: int, rng: np.random.Generator) -> Motion:
    """Put the portrait's own expression on heads that turn far."""
    return _with_gaze(_turned(_repeated(rest, frames), rng, (0.5, 1.5)), rng, share=0.3)


def _evenly(parts: list[tuple[str, Tensor]], count: int) -> tuple[list[str], Tensor]:
    """Return about ``count`` meshes, evenly spread over parts and over time in each."""
    each = max(1, round(count / max(1, len(parts))))
    names, chosen = [], []
    for name, points in parts:
        index = np.unique(np.linspace(0, len(points) - 1, each).round().astype(int))
        names += [name] * len(index)
        chosen.append(points[torch.from_numpy(index)])
    return names, torch.cat(chosen)
