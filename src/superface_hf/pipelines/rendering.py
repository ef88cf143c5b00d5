"""Render frames one by one, in batches, from pieces of landmarks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, MutableSequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from transformers.utils import logging

from ..errors import MediaError
from ..layers.portrait import cut_out, to_uint8
from ..media import SoundReader
from ..models.restorer.face_region import restore_face
from ..models.restorer.steady import SteadyRestoration
from ..motion import Motion
from ..renderers.base import ReadyPortrait, Renderer
from ..renderers.threads import in_order, on_one_thread
from ..utils.progress import progress_bar
from .clip import TalkingFaceClip
from .driving import Dubbing
from .dubbing import Dubber
from .request import Request

if TYPE_CHECKING:
    from ..models.restorer.modeling_restorer import CodebookRestorer

logger = logging.get_logger(__name__)

# A frame's colours, restored colours and landmarks in pixels.
Restored = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Rendering:
    """Frames that are rendered one by one, and their metadata.

    Attributes:
        fps: the frame rate.
        frames: (H, W, 3) uint8 each; (H, W, 4) where they are transparent.
        motions: the motion of the frames, added as they come; of a stream only the last piece.
        missing: indices of frames without a face; complete after the last frame.
        total: the approximate number of frames, or None if it is unknown.
        sound: the sound of the frames; callers cut it, or add silence, to their length.
    """

    fps: float
    frames: Iterator[np.ndarray]
    motions: MutableSequence[Motion]
    missing: list[int]
    total: int | None = None
    sound: SoundReader | None = None

    def collected(self, frames: Iterator[np.ndarray]) -> np.ndarray:
        """Collect all frames into one array (T, H, W, C).

        Args:
            frames: ``self.frames``, perhaps passed through an iterator that counts them.

        Raises:
            MediaError: the frames do not fit into memory.
        """
        first = next(frames)
        collected, count = _allocated(self.total or 1, first.shape), 1
        collected[0] = first
        for frame in frames:
            if count == len(collected):
                collected = np.concatenate([collected, _allocated(len(collected), first.shape)])
            collected[count] = frame
            count += 1
        return collected[:count]

    def to_clip(self, progress: bool | None) -> TalkingFaceClip:
        """Render all frames and return them as a clip, with the sound cut or padded to their length.

        Args:
            progress: shows or hides the progress bar, as in a :class:`~superface_hf.pipelines.request.Request`.

        Raises:
            MediaError: the frames do not fit into memory.
        """
        with progress_bar("Rendering", self.total, progress) as bar:
            frames = self.collected(bar.over(self.frames))
        audio, rate = None, None
        if self.sound:
            sound = self.sound.read().fit(len(frames) / self.fps)
            audio, rate = sound.samples, sound.rate
        motion = Motion.concatenate(self.motions)
        alpha = np.ascontiguousarray(frames[..., 3]) if frames.shape[-1] == 4 else None
        frames = frames if alpha is None else np.ascontiguousarray(frames[..., :3])
        return TalkingFaceClip(frames, self.fps, motion, audio, rate, self.missing, alpha)


def render(
    renderer: Renderer,
    ready: ReadyPortrait,
    pieces: Iterator[Tensor],
    fps: float,
    request: Request,
    size: int,
    device: torch.device,
    streaming: bool,
    restorer: CodebookRestorer | None = None,
) -> Iterator[np.ndarray]:
    """Yield the frames of ``pieces`` of landmarks (n, 478, 3), as a request asks for them.

    Args:
        renderer, ready: the renderer and its prepared portrait.
        pieces: landmarks in IMAGE coordinates of the portrait's crop.
        fps: the frame rate, for a background video.
        request: the arguments of the call.
        size: frames rendered at once.
        device: the renderer's device.
        streaming: whether the consumer waits for each frame: known landmarks are rendered at once, without waiting for
            more to fill a batch.
        restorer: restores the faces, if the request says so.
    """
    behind = None
    if request.behind is not None and not request.transparent:
        behind = request.behind.frames(ready.plate, fps)

    crop, steady = ready.portrait.crop, SteadyRestoration()

    def shown(frame: np.ndarray) -> np.ndarray:
        return frame if request.paste_back else to_uint8(cut_out(frame, crop, renderer.image_size))[0]

    def work(batch: tuple[Tensor, list[np.ndarray] | None]) -> list[tuple[np.ndarray, Restored | None]]:
        landmarks, scenes = batch
        with seeded(request.seed, device):
            frames = ready.frames(landmarks, scenes, request.transparent)
        if restorer is None or request.restore is None:
            return [(shown(frame), None) for frame in frames]
        points = [crop.to_pixels(each) for each in landmarks.cpu().numpy()]
        colours = [np.ascontiguousarray(frame[..., :3]) for frame in frames]
        restored = [restore_face(restorer, *each, request.restore) for each in zip(colours, points, strict=True)]
        return list(zip(frames, zip(colours, restored, points, strict=True), strict=True))

    def finished(frame: np.ndarray, restored: Restored | None) -> np.ndarray:
        if restored is None:
            return frame
        # One after the other: each frame needs the one before.
        return shown(np.concatenate([steady(*restored), frame[..., 3:]], axis=2))

    def with_behind(batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, list[np.ndarray] | None]]:
        for batch in batches:
            yield batch, None if behind is None else list(islice(behind, len(batch)))

    at_once = (piece.split(size) for piece in pieces)
    groups = at_once if streaming else [batched(pieces, size)]
    threads = renderer.side_by_side
    frames = (finished(*frame) for batch in in_order(work, map(with_behind, groups), threads) for frame in batch)
    return on_one_thread(frames) if streaming and threads > 1 else frames


def render_dubbed(dubber: Dubber, dubbing: Dubbing, request: Request, streaming: bool) -> Rendering:
    """Start the rendering of a video that is dubbed; frames without a face stay as they were, and are warned about.

    Args:
        dubber: renders the mouths.
        dubbing: the video, and the mouth of each frame.
        request: the arguments of the call.
        streaming: whether only the last motion is kept.
    """
    motions: MutableSequence[Motion] = deque(maxlen=1) if streaming else []
    missing: list[int] = []

    def pictures() -> Iterator[np.ndarray]:
        unseen = index = 0
        for index, dubbed in enumerate(dubber.frames(dubbing.video, dubbing.mouth, request.when_short)):
            if dubbed.motion is None:
                missing.append(index)
                unseen += 1
            else:
                held = motions[-1] if motions else dubbed.motion
                motions.extend([*[held] * unseen, dubbed.motion])
                unseen = 0
            yield dubbed.picture
        motions.extend([motions[-1]] * unseen if motions else [])
        if missing:
            logger.warning(
                f"No face was found in {len(missing)} of {index + 1} frames (first: {missing[0]}); "
                "they are left as they were."
            )

    frames = request.work.timed(pictures())
    return Rendering(dubbing.video.fps, frames, motions, missing, dubbing.frames, dubbing.sound)


def batched(pieces: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Split pieces (n, ...) of any n into batches (size, ...), each as soon as it is complete; the last one is smaller."""
    waiting = torch.empty(0)
    for piece in pieces:
        waiting = torch.cat([waiting, piece]) if len(waiting) else piece
        while len(waiting) >= size:
            yield waiting[:size]
            waiting = waiting[size:]
    if len(waiting):
        yield waiting


@contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Seed torch's random numbers inside the block, and restore their state afterwards.

    The block must not yield: torch's random state belongs to the whole process.
    """
    if seed is None:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _allocated(frames: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return an uninitialised array for frames, or raise MediaError if memory does not suffice."""
    try:
        return np.empty((frames, *shape), np.uint8)
    except MemoryError:
        raise MediaError(
            f"{frames} frames of {shape[1]} x {shape[0]} pixels do not fit into memory: use stream() or write()."
        ) from None
