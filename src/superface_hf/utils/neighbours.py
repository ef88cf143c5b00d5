"""How this package shares a machine with whatever else runs on it.

Torch splits work on threads by OpenMP, and threads that have done their share wait for the others. By default they spin while
they wait: as long as nothing else runs, that saves microseconds; as soon as anything else does, spinning threads keep the cores
from those that they wait for, and everything takes many times as long. Passive waiting gives the core away.

OpenMP reads this once, when torch is loaded, so importing this package has to come first. Who has imported torch before sets
the variable themselves.
"""

from __future__ import annotations

import os

# GNU's libgomp (torch from PyPI on Linux), LLVM's and Intel's (macOS, Windows, conda) know the first; whoever sets any of these
# has decided already.
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


def wait_passively() -> None:
    """Has torch's threads sleep while they wait, unless the environment says how they shall wait."""
    if not any(name in os.environ for name in WAITING):
        os.environ[WAITING[0]] = "PASSIVE"
