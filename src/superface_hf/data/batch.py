"""The base of all training batches: a dataclass of tensors with an entry for each item."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

BatchT = TypeVar("BatchT", bound="Batch")


@dataclasses.dataclass(eq=False)
class Batch:
    """The base of all batches: a subclass is a dataclass whose fields are tensors (B, ...), or None where it has none.

    A dataset gives items of the same class, without the dimension B.
    """

    @classmethod
    def collate(cls: type[BatchT], items: Sequence[BatchT]) -> BatchT:
        """Stack items, for ``DataLoader``."""
        return cls(**{name: _stacked([getattr(item, name) for item in items]) for name in _names(cls)})

    def mapped(self: BatchT, change: Callable[[Tensor], Tensor]) -> BatchT:
        """Apply a function to every tensor of the batch."""
        values = {name: getattr(self, name) for name in _names(type(self))}
        return type(self)(**{name: None if value is None else change(value) for name, value in values.items()})

    def to(self: BatchT, device: torch.device | str, non_blocking: bool = False) -> BatchT:
        """Copy the batch to a device."""
        return self.mapped(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self: BatchT) -> BatchT:
        """Copy the batch to pinned memory, from which a GPU copies in the background."""
        return self.mapped(Tensor.pin_memory)


def _names(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _stacked(values: list[Any]) -> Tensor | None:
    return None if values[0] is None else torch.stack(values)
