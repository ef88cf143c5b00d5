"""The errors that this package raises on bad input: one small hierarchy, each message saying what to do next."""

from __future__ import annotations


def install_command(extra: str) -> str:
    """Return the command that installs an extra, for error messages. The package is on no index yet, so it is installed
    from a clone.

    Args:
        extra: its name in ``pyproject.toml``, such as ``"train"``.
    """
    return f"pip install '.[{extra}]' in a clone of superface-hf"


class SuperFaceError(Exception):
    """The parent of all errors of this package."""


class HubError(SuperFaceError):
    """A checkpoint that cannot be fetched from the Hugging Face Hub, read, or pushed to it."""


class MediaError(SuperFaceError):
    """A picture, video or sound that cannot be read, is empty, too large or of an unsupported type."""


class NoFaceError(SuperFaceError):
    """No face was found where one is needed."""


class SeveralFacesError(SuperFaceError):
    """More faces than the caller allowed, or a face index that does not exist."""


class MotionError(SuperFaceError):
    """A motion with wrong shapes or non-finite values, or one that does not fit the operation."""


class ProvenanceError(SuperFaceError):
    """Content credentials that cannot be made: a missing library, or a certificate or key that cannot sign."""


class UnknownNameError(SuperFaceError):
    """A region, blendshape, bundled motion or option name that does not exist; the message lists those that do."""
