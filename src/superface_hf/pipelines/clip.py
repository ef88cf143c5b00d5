"""The result of the pipeline."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..media import transparent_writer, write_mp4
from ..motion import Motion
from ..provenance.marks import MADE_UP, SOURCE_TYPE

if TYPE_CHECKING:
    from .speech_to_portrait import PortraitHearing


@dataclass(frozen=True, eq=False)
class TalkingFaceClip:
    """A rendered clip.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        fps: frames per second.
        motion: the rendered motion of the portrait's face, T frames.
        audio: (N,) mono or (N, 2) stereo float32 in [-1, 1], as long as the frames, or None.
        sampling_rate: samples a second of ``audio``.
        missing: driving frames in which no face was found; they hold the last motion.
        portrait: (H, W, 3) uint8, the picture of a made-up face; None for a given picture.
        hearing: what was heard and drawn for a made-up face, or None.
        alpha: (T, H, W) uint8, the person's share of each pixel in a transparent clip, whose ``frames`` hold the person's
            own colours; None for other clips.
    """

    frames: np.ndarray
    fps: float
    motion: Motion
    audio: np.ndarray | None = None
    sampling_rate: int | None = None
    missing: list[int] = field(default_factory=list)
    alpha: np.ndarray | None = None
    portrait: np.ndarray | None = None
    hearing: PortraitHearing | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def seconds(self) -> float:
        return len(self) / self.fps

    @property
    def source_type(self) -> str:
        """IPTC's term for how the clip was made: a clip of a made-up portrait is completely a model's."""
        return SOURCE_TYPE if self.portrait is None else MADE_UP

    def save(self, path: str | os.PathLike[str], label: bool = False) -> None:
        """Write an mp4 (H.264, AAC), marked in its metadata as AI-generated. The file appears complete or not at all.

        A transparent clip becomes a .webm (VP9, Opus) or .mov (ProRes 4444, AAC) file, or, without a suffix, a folder of PNG
        pictures.

        Args:
            path: the file or folder to write.
            label: whether to draw "AI-generated" visibly in a corner of the picture.

        Raises:
            MediaError: the suffix is not supported, or the path cannot be written.
            ProvenanceError: the environment names a certificate that cannot sign.
        """
        if self.alpha is None:
            write_mp4(path, self.frames, self.fps, self.audio, self.sampling_rate, label, self.source_type)
            return
        with transparent_writer(path, self.fps, self.audio, self.sampling_rate, label, self.source_type) as writer:
            for frame, alpha in zip(self.frames, self.alpha, strict=True):
                writer.add(np.dstack([frame, alpha]))

    def __repr__(self) -> str:
        height, width = self.frames.shape[1:3]
        sound = "with sound" if self.audio is not None else "silent"
        return f"TalkingFaceClip({len(self)} frames of {width}x{height} at {self.fps:g} fps, {self.seconds:.2f} s, {sound})"
