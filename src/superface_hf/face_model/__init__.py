"""The linear face model over the 478-point mesh."""

from .linear import FaceModel, FaceShape

__all__ = ["FaceModel", "FaceShape"]
