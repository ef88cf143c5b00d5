"""The tracker: finds faces and their 478-point meshes in pictures and videos."""

from __future__ import annotations

from .base import Face, FaceTracker
from .configuration_tracker import SuperFaceTrackerConfig
from .modeling_tracker import SuperFaceTrackerModel

__all__ = ["Face", "FaceTracker", "SuperFaceTrackerConfig", "SuperFaceTrackerModel"]
