"""``Motion``, the representation between drivers and renderers, with rotations, smoothing, ARKit's names and bundled
motions."""

from .motion import Motion
from .regions import REGIONS

__all__ = ["REGIONS", "Motion"]
