"""The lip reader: tells from pictures of a mouth what it says, as far as lips show it.

As in lip reading (Chung et al. 2017, "Lip reading sentences in the wild") a convolutional network looks at each picture and a
second one along time; but it names visemes, not words, and is small. It judges rendered mouths, as AV-HuBERT does in "Seeing
What You Said" (Wang et al. 2023): what cannot be read was not said.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from ...errors import MediaError
from ...hub.model import HubMixin
from ..time_blocks import TimeBlock
from .configuration_lip_reader import VISEMES, SuperFaceLipReaderConfig
from .mouth_pictures import HEIGHT, WIDTH, nearest_frames

BLOCK_FRAMES = 500  # read at once, so that long videos need little memory
# How much the transitions count against the pictures. A frame tells little that its neighbours do not, so in full they would
# count too much: of what is said in training clips 0.73 was then missed or wrong, and 0.56 with this.
TRANSITIONS = 0.2
# The spread of a picture's grey below which it shows nothing.
FLATTEST = 1e-2


@dataclass
class LipReaderOutput(ModelOutput):
    """What is read.

    Attributes:
        logits: (B, T, len(VISEMES)).
    """

    logits: Tensor | None = None


class SuperFaceLipReaderModel(HubMixin, PreTrainedModel):
    """Reads visemes from the lips: (B, T, 48, 72) grey mouths -> one of ``VISEMES`` for each frame."""

    config_class = SuperFaceLipReaderConfig
    config: SuperFaceLipReaderConfig
    main_input_name = "mouths"
    default_dtype = torch.float32

    def __init__(self, config: SuperFaceLipReaderConfig) -> None:
        super().__init__(config)
        widths = [1, *config.channels]
        first, *others = pairwise(widths)
        self.looks = nn.ModuleList([nn.Conv2d(*first, 7, 4, 3), *(nn.Conv2d(*pair, 3, 2, 1) for pair in others)])
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for width in config.channels)
        cells = (HEIGHT // 16) * -(-WIDTH // 16)
        self.enter = nn.Linear(widths[-1] * cells, config.hidden_size)
        self.blocks = nn.ModuleList(
            TimeBlock(config.hidden_size, dilation, config.dropout) for dilation in config.dilations
        )
        self.norm = nn.LayerNorm(config.hidden_size)
        self.head = nn.Linear(config.hidden_size, len(VISEMES))
        self.following: Tensor
        self.usual: Tensor
        # The logarithm of how likely each viseme (row) is followed by each in the next frame, and of how likely it is first.
        self.register_buffer("following", torch.zeros(len(VISEMES), len(VISEMES)))
        self.register_buffer("usual", torch.zeros(len(VISEMES)))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        bias: Any = getattr(module, "bias", None)
        if isinstance(module, nn.Linear | nn.Conv2d):
            init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            init.zeros_(bias)
        elif isinstance(module, nn.LayerNorm | nn.GroupNorm):
            init.ones_(module.weight)
            init.zeros_(bias)
        elif isinstance(module, SuperFaceLipReaderModel):
            init.zeros_(module.following)
            init.zeros_(module.usual)

    def forward(self, mouths: Tensor) -> LipReaderOutput:
        """Read mouths; differentiable.

        Args:
            mouths: (B, T, 48, 72) grey in [0, 1], ``config.frame_rate`` a second, see
                :func:`.mouth_pictures.mouth_pictures`. Brightness and contrast of each do not matter.
        """
        return LipReaderOutput(logits=self.head(self.norm(self.hidden(mouths))))

    def hidden(self, mouths: Tensor) -> Tensor:
        """Return what the network knows of each frame before it decides, (B, T, hidden_size): features for a loss."""
        flat = mouths.flatten(0, 1).unsqueeze(1).to(self.dtype)
        spread = flat.std((2, 3), keepdim=True).clamp_min(FLATTEST)
        x = (flat - flat.mean((2, 3), keepdim=True)) / spread
        for look, norm in zip(self.looks, self.norms, strict=True):
            x = F.gelu(norm(look(x)))
        x = self.enter(x.flatten(1)).unflatten(0, mouths.shape[:2])
        for block in self.blocks:
            x = block(x)
        return x

    @torch.inference_mode()
    def scores(self, mouths: np.ndarray, fps: float) -> np.ndarray:
        """Return the logarithm of each viseme's probability in each frame, (T', len(VISEMES)) at ``config.frame_rate``.

        Args:
            mouths: (T, 48, 72) uint8, see :func:`.mouth_pictures.mouths_of`.
            fps: their frame rate.

        Raises:
            MediaError: the mouths have another shape or type, there are none, or the frame rate is not above 0.
        """
        if mouths.ndim != 3 or mouths.shape[1:] != (HEIGHT, WIDTH) or mouths.dtype != np.uint8 or not len(mouths):
            raise MediaError(
                f"The lip reader reads (T, {HEIGHT}, {WIDTH}) uint8, not {mouths.shape} {mouths.dtype}: see mouths_of."
            )
        if not (np.isfinite(fps) and fps > 0):
            raise MediaError(f"The lip reader needs a frame rate above 0, not {fps}.")
        shown = mouths[nearest_frames(len(mouths), fps, self.config.frame_rate)]
        # Block by block; each sees the frames around it on which it depends.
        context, parts = 1 + sum(self.config.dilations), []
        for start in range(0, len(shown), BLOCK_FRAMES):
            before = min(start, context)
            block = torch.from_numpy(shown[start - before : start + BLOCK_FRAMES + context]).to(self.device)
            logits = self(block[None].float() / 255).logits[0, before : before + BLOCK_FRAMES]
            parts.append(logits.double().log_softmax(-1).cpu().numpy())
        return np.concatenate(parts)

    def read(self, mouths: np.ndarray, fps: float) -> np.ndarray:
        """Return the most probable sequence of visemes (Viterbi), indices of ``VISEMES``: (T',) int64 at ``config.frame_rate``.

        Arguments and errors are those of :meth:`scores`.
        """
        first, following = (TRANSITIONS * each.double().cpu().numpy() for each in (self.usual, self.following))
        return most_probable(self.scores(mouths, fps), first, following)

    def evidence(self, mouths: np.ndarray, fps: float, said: np.ndarray, reach: int = 5) -> np.ndarray:
        """Return how much the lips show of what is said, in bits a frame, if the picture is late by -reach .. reach frames.

        It is the logarithm of how much more probable the visemes are by the picture than by their frequency: above 0 the
        lips tell something; below 0 they tell something else.

        Args:
            mouths, fps: as in :meth:`scores`.
            said: (T',) indices of ``VISEMES`` at ``config.frame_rate``, see :func:`.heard_visemes.viseme_track`.

        Returns:
            (2 reach + 1,) float64.

        Raises:
            MediaError: as in :meth:`scores`, or the clip is too short for such a reach.
        """
        scores = self.scores(mouths, fps) - self.usual.double().cpu().numpy()
        frames = min(len(scores), len(said))
        if frames <= 2 * reach:
            raise MediaError(f"{frames} frames are too few to look for {reach} frames of delay.")
        middle = np.arange(reach, frames - reach)  # the same sound for all shifts
        found = [scores[middle + shift, said[middle]].mean() for shift in range(-reach, reach + 1)]
        return np.array(found) / np.log(2)


def most_probable(scores: np.ndarray, first: np.ndarray, following: np.ndarray) -> np.ndarray:
    """Return the most probable sequence (T,) by Viterbi's algorithm.

    Args:
        scores: (T, V) logarithms of how well each value fits each frame.
        first, following: (V,) and (V, V) logarithms of the probabilities to begin with, and of one after another.
    """
    best, before = first + scores[0], []
    for frame in scores[1:]:
        ways = best[:, None] + following
        before.append(ways.argmax(0))
        best = ways.max(0) + frame
    path = [int(best.argmax())]
    for came_from in reversed(before):
        path.append(int(came_from[path[-1]]))
    return np.array(path[::-1])


__all__ = ["LipReaderOutput", "SuperFaceLipReaderModel", "most_probable"]
