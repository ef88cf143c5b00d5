"""Configuration of the sync expert."""

from __future__ import annotations

from typing import ClassVar

from huggingface_hub.dataclasses import strict

from ..configuration import Bounds
from ..log_mel import LogMelConfig

MAX_FRAMES = 4096  # in half a window


@strict
class SuperFaceSyncExpertConfig(LogMelConfig):
    """The configuration of the sync expert: its features, its windows and its size.

    Args:
        sampling_rate, num_mel_bins, hop_length, window_length, min_frequency, max_frequency, mouth_size, dropout: see
            :class:`.log_mel.LogMelConfig`.
        frame_rate: windows a second, for sound and mouth; it must take a whole number of hops for each.
        hidden_size: width of both networks.
        dilations: one residual block each, whose three taps are this many frames apart; together they give
            ``window_seconds``.
        embedding_size: size of an embedding.
    """

    model_type = "superface_sync_expert"
    bounds: ClassVar[Bounds] = {
        **LogMelConfig.bounds,
        "embedding_size": (2, 4096),  # one number would hold no direction
    }

    dilations: tuple[int, ...] | list[int] = (1, 2, 4, 6)
    embedding_size: int = 64

    @property
    def window_seconds(self) -> float:
        """The seconds of sound and motion on which one embedding depends, centred on its time."""
        return (3 + 2 * sum(self.dilations)) / self.frame_rate

    def validate_architecture(self) -> None:
        """Refuse combinations that cannot work."""
        super().validate_architecture()
        if sum(self.dilations) > MAX_FRAMES:
            raise ValueError(f"dilations may add up to {MAX_FRAMES} at most, got {sum(self.dilations)}")
