"""A small cache, and the key of a picture in it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from numpy import ndarray

ValueT = TypeVar("ValueT")


class Remembered(Generic[ValueT]):
    """A cache of the most recently used values by key; threads may share it."""

    def __init__(self, capacity: int) -> None:
        self._capacity, self._lock = capacity, threading.Lock()
        self._values: OrderedDict[Any, ValueT] = OrderedDict()
        self._making: dict[Any, threading.Lock] = {}

    def get(self, key: Any, make: Callable[[], ValueT]) -> ValueT:
        """Return the value of a key, made by ``make`` if it is not cached. Other threads that ask for the same key wait."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    return self._values[key]
            try:
                value = make()
                with self._lock:
                    self._values[key] = value
                    while len(self._values) > self._capacity:
                        self._values.popitem(last=False)
            finally:
                with self._lock:
                    self._making.pop(key, None)
        return value

    def __len__(self) -> int:
        return len(self._values)


def key_of(picture: ndarray) -> str:
    """Return a hash of the size and the pixels of a picture (H, W, 3) uint8."""
    return sha256(repr(picture.shape).encode() + picture.tobytes()).hexdigest()
