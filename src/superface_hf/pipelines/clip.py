"""What the pipeline returns."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np

from ..media import write_mp4
from ..motion import Motion


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
    """

    frames: np.ndarray
    fps: float
    motion: Motion
    audio: np.ndarray | None = None
    sampling_rate: int | None = None
    missing: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def seconds(self) -> float:
        return len(self) / self.fps

    def save(self, path: str | os.PathLike[str], label: bool = False) -> None:
        """Writes an mp4 (H.264, AAC), marked in its metadata as AI-generated. The file appears complete or not at all.

        Args:
            label: whether "AI-generated" stands in a corner of the picture for everybody to see.

        Raises:
            MediaError: the name does not end in .mp4, .m4v or .mov, or the place cannot be written.
            ProvenanceError: the environment names a certificate that cannot sign.
        """
        write_mp4(path, self.frames, self.fps, self.audio, self.sampling_rate, label)

    def __repr__(self) -> str:
        height, width = self.frames.shape[1:3]
        sound = "with sound" if self.audio is not None else "silent"
        return f"TalkingFaceClip({len(self)} frames of {width}x{height} at {self.fps:g} fps, {self.seconds:.2f} s, {sound})"
