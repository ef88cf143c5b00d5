"""The linear face model over the 478-point mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .linear import FaceModel, FaceShape

__all__ = ["FaceModel", "FaceShape"]


def __getattr__(name: str) -> Any:
    # Lazy, because Motion needs this package's poses and blendshapes, and FaceModel needs Motion.
    if name in __all__:
        from . import linear

        return getattr(linear, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
