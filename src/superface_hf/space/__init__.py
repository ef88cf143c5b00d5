"""The web demo: ``superface serve``, and the app of the Space in ``spaces/talking-face``. Needs the extra ``[space]``.

``app`` puts the page together and each tab has a file. Between visitors and models stand ``guard`` (requests), ``gate`` (the
inputs of every function), ``store`` (whose files are whose) and ``limits``; ``calls`` are live, by WebRTC, with the extra
``[webrtc]``; ``serving`` starts and stops it all.
"""

from __future__ import annotations

from .app import build
from .limits import Limits
from .serving import launch
from .studio import Studio

__all__ = ["Limits", "Studio", "build", "launch"]
