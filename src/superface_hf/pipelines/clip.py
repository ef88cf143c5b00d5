"""What the pipeline returns."""

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
        motion: the motion that was rendered, T frames, as the portrait's own face makes it.
        audio: (N,) mono or (N, 2) stereo float32 in [-1, 1], as long as the frames; None where there is no sound.
        sampling_rate: of ``audio``, in samples a second.
        missing: driving frames in which no face was found; they hold the last motion.
        portrait: (H, W, 3) uint8, the made-up picture, of a clip that was made without one; None of any other.
        hearing: what the voice told, and what was drawn for it, of such a clip.
        alpha: (T, H, W) uint8, how much of each pixel is the person, of a transparent clip; ``frames`` are then the person's
            own colours. None of any other.
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
        """IPTC's term for how the clip was made: with a made-up portrait, all of it is a model's."""
        return SOURCE_TYPE if self.portrait is None else MADE_UP

    def save(self, path: str | os.PathLike[str], label: bool = False) -> None:
        """Writes an mp4 (H.264, AAC), marked in its metadata as AI-generated. The file appears complete or not at all.

        A transparent clip becomes a .webm (VP9, Opus) or .mov (ProRes 4444, AAC) file, or, without a suffix, a folder of PNG
        pictures.

        Args:
            label: whether "AI-generated" stands in a corner of the picture for everybody to see.

        Raises:
            MediaError: the name ends in something else, or the place cannot be written.
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
