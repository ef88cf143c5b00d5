"""The settings of ``superface prepare``."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...utils.settings import number
from .quality_filters import QualityThresholds


@dataclass(frozen=True)
class PrepareSettings:
    """How raw videos are cut, cropped and filtered.

    Attributes:
        max_side: largest side of a finished clip, pixels; smaller crops are not enlarged.
        jpeg_quality: of the kept pictures, 1 to 100.
        max_seconds: longer shots are cut into equal clips no longer than this.
        max_gap_seconds: a face unseen for longer ends a clip.
        cut_difference: how much of full brightness a picture changes by at a scene cut, mean over a thumbnail.
        sync: whether to measure with the sync expert how the sound fits the mouth.
        val_share: share of the people that go into val, where no table says who does.
        shard_megabytes: a shard is closed when it has reached this size.
        filters: what is kept.
    """

    max_side: int = number(512, low=64)
    jpeg_quality: int = number(93, low=1, high=100)
    max_seconds: float = number(120.0, low=1.0)
    max_gap_seconds: float = number(1.0, low=0.0)
    cut_difference: float = number(0.12, low=0.01, high=1.0)
    sync: bool = True
    val_share: float = number(0.05, low=0.0, high=1.0)
    shard_megabytes: int = number(128, low=1)
    filters: QualityThresholds = field(default_factory=QualityThresholds)
