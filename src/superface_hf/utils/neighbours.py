"""Make torch's threads share the machine with other programs.

Torch splits work among OpenMP threads, and a thread that has finished its share waits for the others. By default it spins
while it waits. That saves microseconds on an idle machine; on a busy one, spinning threads occupy the cores that the other
threads need, and everything takes many times as long. A passive wait gives the core away.

OpenMP reads the setting once, when torch is loaded, so this package has to be imported before torch. Programs that import torch
first set the variable themselves.
"""

from __future__ import annotations

import os

# GNU's libgomp (torch from PyPI on Linux), LLVM's and Intel's OpenMP (macOS, Windows, conda) read the first variable. A user
# who sets any of these has chosen already.
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


def wait_passively() -> None:
    """Make torch's threads sleep while they wait, unless the environment says how they should wait."""
    if not any(name in os.environ for name in WAITING):
        os.environ[WAITING[0]] = "PASSIVE"
