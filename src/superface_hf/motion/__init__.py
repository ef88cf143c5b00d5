"""``Motion``, the one currency between drivers and renderers: rotations, smoothing, ARKit's names, bundled motions."""

from .motion import REGIONS, Motion

__all__ = ["REGIONS", "Motion"]
