"""The web demo: ``superface serve``, and the app of the Space in ``spaces/talking-face``. Needs the extra ``[space]``.

``app`` puts the page together; each tab has a file; ``limits``, ``inputs`` and ``guard`` stand between visitors and models.
"""

from __future__ import annotations

from .app import build, launch
from .limits import Limits
from .studio import Studio

__all__ = ["Limits", "Studio", "build", "launch"]
