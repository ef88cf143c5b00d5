"""The base of all models' configurations, which checks every value.

A configuration comes with a checkpoint, and checkpoints may be untrusted. So all sizes are bounded before any memory is
allocated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any, ClassVar, TypeVar

from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from ..hub.failures import BadConfiguration

Bounds = Mapping[str, tuple[float, float]]
ConfigT = TypeVar("ConfigT", bound="SuperFaceConfig")

MAX_LIST = 64
_COUNTS = {2: "two", 3: "three", 4: "four"}
DTYPES = ("float64", "float32", "float16", "bfloat16")
# The keys that transformers writes beside a model's own settings, and that are read.
_COMMON = frozenset({"architectures", "dtype", "torch_dtype", "transformers_version", "model_type"})
_TRANSFORMERS_FIELDS = frozenset(field.name for field in fields(PreTrainedConfig))


class SuperFaceConfig(PreTrainedConfig):
    """A configuration whose numbers are all within ``bounds``.

    Attributes:
        bounds: the least and the largest value of each number, and of each entry of a list of numbers.
    """

    bounds: ClassVar[Bounds] = {}

    @classmethod
    def settings(cls) -> set[str]:
        """Return the names of the model's own settings."""
        return {field.name for field in _own_fields(cls)}

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Make the configuration from the model's own settings in a dict; unknown keys, which may be untrusted, are ignored.

        Raises:
            BadConfiguration: a value is impossible.
        """
        known = {key: value for key, value in config_dict.items() if key in cls.settings() | _COMMON}
        for key in ("dtype", "torch_dtype"):
            if known.get(key) is not None and str(known[key]).removeprefix("torch.") not in DTYPES:
                raise BadConfiguration(f"{key} must be one of {', '.join(DTYPES)}, not {shortened(known[key])}")
        try:
            return super().from_dict(known, **kwargs)
        except (StrictDataclassError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BadConfiguration(shortened(error, 300)) from error

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        for field in _own_fields(type(self)):
            value = getattr(self, field.name)
            if isinstance(field.default, tuple) and isinstance(value, tuple):
                setattr(self, field.name, list(value))  # as a file stores it

    def validate_architecture(self) -> None:
        """Refuse values of other types than the defaults', and numbers out of bounds; subclasses also refuse combinations."""
        for field in _own_fields(type(self)):
            value, default = getattr(self, field.name), field.default
            if isinstance(default, bool):
                if not isinstance(value, bool):
                    raise ValueError(f"{field.name} must be true or false, got {shortened(value)}")
            elif isinstance(default, tuple):
                if not isinstance(value, list) or len(value) > MAX_LIST:
                    raise ValueError(
                        f"{field.name} must be a list of at most {MAX_LIST} numbers, got {shortened(value)}"
                    )
                for entry in value:
                    check_number(field.name, entry, *self.bounds[field.name], whole=True)
            elif isinstance(default, (int, float)):
                check_number(field.name, value, *self.bounds[field.name], whole=isinstance(default, int))

    def check_lengths(self, length: int, *names: str) -> None:
        """Check that lists have so many entries.

        Raises:
            ValueError: a list of widths has another length.
        """
        for name in names:
            if len(getattr(self, name)) != length:
                raise ValueError(f"{name} needs {_COUNTS[length]} widths, got {getattr(self, name)}")

    def check_multiples(self, factor: int, *names: str) -> None:
        """Check that sizes are multiples of a factor.

        Raises:
            ValueError: a size is no multiple of ``factor``.
        """
        for name in names:
            if getattr(self, name) % factor:
                raise ValueError(f"{name} must be a multiple of {factor}, got {getattr(self, name)}")


def of_size(
    kind: type[ConfigT], what: str, sizes: Mapping[str, Mapping[str, Any]], size: str, **overrides: Any
) -> ConfigT:
    """Return a configuration of a named size.

    Args:
        what: the model's name, for the message.
        sizes: what differs from the defaults, for each size.
        overrides: fields that differ from that size's.

    Raises:
        ValueError: there is no such size.
    """
    if size not in sizes:
        raise ValueError(f"There is no {what} of size {size!r}; sizes are {', '.join(sizes)}.")
    return kind(**{**sizes[size], **overrides})


def _own_fields(kind: type) -> list[Field[Any]]:
    return [field for field in fields(kind) if field.name not in _TRANSFORMERS_FIELDS]


def check_number(name: str, value: Any, low: float, high: float, whole: bool = False) -> None:
    """Check that a value is a number from ``low`` to ``high``, and an integer if ``whole``.

    Raises:
        ValueError: the value is something else.
    """
    number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    # Written as "not inside the bounds", so that NaN is refused too.
    if not (number and low <= value <= high):
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"{name} must be {kind} from {low:g} to {high:g}, got {shortened(value)}")


def shortened(value: object, most: int = 80) -> str:
    """Return the text of a value as one short line."""
    try:
        text = " ".join(str(value).split())
    except ValueError:  # Python does not print whole numbers of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= most else text[:most] + "..."
