"""Tests the package on every supported Python that this machine has; `make test-pythons`.

Each gets a virtual environment of its own with the pins of constraints.txt. By default what needs no torch is tested there:
that all of the code compiles, that the command answers, and reading, writing and refusing media, for there lie the
differences between Pythons (another PyAV, NumPy and Pillow). It takes half a minute each, and torch costs gigabytes where only
PyPI can be reached. FULL=1 installs everything and runs all fast tests; TORCH=cpu|cuda|default chooses the build of torch.
"""

import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from torch_index import options

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13")
NO_TORCH = ("tests/unit/test_media.py", "tests/unit/test_sound.py", "tests/unit/test_strangers_files.py")
FAST = ("tests/unit", "-m", "not e2e")  # as `make test-fast`


def found(version: str) -> str | None:
    """The interpreter: the one that runs this, on the path, of pyenv, or of uv."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    if (path := shutil.which(f"python{version}")) and answers(path):
        return path
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for path in sorted(pyenv.glob(f"versions/{version}.*/bin/python")):
        if answers(str(path)):
            return str(path)
    if uv := shutil.which("uv"):
        asked = subprocess.run([uv, "python", "find", "--no-python-downloads", version], capture_output=True, text=True)
        return asked.stdout.strip() or None
    return None


def answers(python: str) -> bool:
    """Whether it runs: pyenv puts programs on the path for Pythons that are not chosen."""
    return subprocess.run([python, "-c", "import venv"], capture_output=True).returncode == 0


def installed(python: str, folder: Path, full: bool) -> Path:
    """The virtual environment's interpreter."""
    inside = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not inside.exists():
        subprocess.run([python, "-m", "venv", folder], check=True)
    pip = [str(inside), "-m", "pip", "install", "--quiet", "--constraint", "constraints.txt"]
    if full:
        subprocess.run([*pip, *options(os.environ.get("TORCH", "auto")), "--editable", ".[dev]"], check=True, cwd=ROOT)
    else:
        needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        without_torch = [need for need in needs if not need.startswith("torch")]
        subprocess.run([*pip, "--no-compile", *without_torch, "pytest"], check=True, cwd=ROOT)
    return inside


def check(python: Path, full: bool) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "TRANSFORMERS_VERBOSITY": "error"}

    def run(*arguments: str, stdout: int | None = None) -> None:
        subprocess.run([str(python), *arguments], check=True, cwd=ROOT, env=environment, stdout=stdout)

    # Warnings are errors, so that what a newer Python no longer likes (an invalid escape, say) shows.
    run("-W", "error", "-m", "compileall", "-q", "-f", "src", "benchmarks", "spaces", "tests")
    run("-m", "superface_hf.cli", "--help", stdout=subprocess.DEVNULL)
    run("-m", "pytest", "-p", "no:cacheprovider", *(FAST if full else ("--noconftest", *NO_TORCH)))


def main() -> int:
    full = bool(os.environ.get("FULL"))
    failed, missing, fine = [], [], []
    for version in sys.argv[1:] or VERSIONS:
        python = found(version)
        if python is None:
            missing.append(version)
            continue
        started = time.monotonic()
        try:
            check(installed(python, ROOT / f".venv-{version}", full), full)
            fine.append(version)
        except subprocess.CalledProcessError as error:
            print(f"Python {version}: {error}", file=sys.stderr)
            failed.append(version)
        print(f"Python {version} ({python}): {time.monotonic() - started:.0f} s", flush=True)
    kind = "all fast tests" if full else "what needs no torch"
    print(f"Pythons, {kind}: {', '.join(fine) or 'none'} passed; {', '.join(failed) or 'none'} failed; ", end="")
    print(f"{', '.join(missing) or 'none'} not found on this machine")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
