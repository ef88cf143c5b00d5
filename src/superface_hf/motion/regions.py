"""The regions of a face, and the arrays of a ``Motion`` that hold each."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import MotionError, UnknownNameError
from .arkit import EXPRESSION_REGIONS, nearest_names

REGIONS = (*EXPRESSION_REGIONS, "head")
HEAD = ("rotation", "translation", "scale")
#: The arrays of a ``Motion``, in the order of its fields.
ARRAYS = (*HEAD, *EXPRESSION_REGIONS)


def arrays_of(region: str) -> tuple[str, ...]:
    """Return the names of the arrays that hold a region."""
    return HEAD if region == "head" else (region,)


def checked_regions(regions: Iterable[str]) -> list[str]:
    """Return the names of regions as a list.

    Raises:
        MotionError: a string instead of a list of names.
        UnknownNameError: a name that is no region.
    """
    if isinstance(regions, str):
        raise MotionError(f"Regions are a list of names, such as [{regions!r}], not a string.")
    names = list(regions)
    for name in names:
        if name not in REGIONS:
            raise UnknownNameError(f"Unknown region {name!r}. {nearest_names(name, REGIONS)}")
    return names
