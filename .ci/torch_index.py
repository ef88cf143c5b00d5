"""Prints the options with which pip finds the build of torch that fits a machine: `torch_index.py cpu|cuda|default|auto`.

On Linux the torch of PyPI brings CUDA packages of gigabytes. PyTorch keeps smaller builds on an index of its own, where each
build has a version of its own (2.13.0+cpu), which pip prefers. An index that does not answer within some seconds is left out:
pip then takes what it is set up to find. "auto" is CUDA where there is an NVIDIA GPU, and the CPU elsewhere.
"""

import os
import shutil
import sys
import threading
import urllib.request

INDEXES = {"cpu": "https://download.pytorch.org/whl/cpu", "cuda": "https://download.pytorch.org/whl/cu130"}
PATIENCE = 8.0  # seconds


def answers(index: str) -> bool:
    """Whether the index answers in time; looking up its name can take longer than any timeout of a connection."""
    answered: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(f"{index}/torch/", timeout=PATIENCE) as response:
                answered.append(response.status == 200)
        except (OSError, ValueError):
            answered.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return bool(answered and answered[0])


def options(kind: str) -> list[str]:
    """For pip; says on stderr what was chosen."""
    if kind == "auto":
        kind = "cuda" if shutil.which("nvidia-smi") else "cpu"
    if kind == "default":
        return []
    if kind not in INDEXES:
        raise SystemExit(f"TORCH={kind}: it must be cpu, cuda, default or auto.")
    index = INDEXES[kind]
    if not answers(index):
        print(f"torch: {index} does not answer, so pip takes the build that it finds itself", file=sys.stderr)
        return []
    print(f"torch: the {kind} build, from {index}", file=sys.stderr)
    return ["--extra-index-url", index]


if __name__ == "__main__":
    print(*options(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # a thread may still wait for an answer
