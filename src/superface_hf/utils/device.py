"""Choose the device that torch computes on."""

from __future__ import annotations

from ..errors import SuperFaceError

AUTO = "auto"
DEVICE_HELP = "cpu, cuda, cuda:1, mps, or auto: a GPU if there is one (default: auto)"
DTYPES = (AUTO, "float32", "bfloat16", "float16")
DTYPE_HELP = (
    "what the networks compute in; auto: bfloat16 on a CPU that has it, where that is invisible (default: auto)"
)


def choose_device(name: str = AUTO) -> str:
    """Return the torch device for a name; "auto" is a CUDA GPU if there is one, else Apple's (mps), else the CPU.

    Raises:
        SuperFaceError: there is no such device here.
    """
    import torch

    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == AUTO:
        return next(kind for kind, there in usable.items() if there)
    kind, colon, number = name.partition(":")
    known = kind in usable and (number.isascii() and number.isdecimal() if colon else True)
    if not known or (kind != "cuda" and number not in ("", "0")):
        raise SuperFaceError(f"There is no device {name!r}: use cpu, cuda, cuda:1, mps, or auto.")
    if not usable[kind]:
        raise SuperFaceError(
            f"This machine has no {kind} that torch {torch.__version__} can use: try --device auto, or cpu."
        )
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise SuperFaceError(
            f"There is no {name}: torch sees {torch.cuda.device_count()} of them, counted from cuda:0."
        )
    return name
