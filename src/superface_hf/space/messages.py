"""Messages for visitors when something fails: what is wrong and what to do, never a traceback."""

from __future__ import annotations

import functools
import html
import inspect
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
from transformers.utils import logging

from ..errors import MediaError, NoFaceError, SuperFaceError

logger = logging.get_logger(__name__)

APOLOGY = "Sorry, something went wrong on our side. Please try again; if it happens again, try another file."
CONSENT_NEEDED = (
    "Please confirm first that you are the person shown, or that they agreed: tick the box above the button."
)
CONSENT = "I am the person shown, or they agreed to be animated."
SYNTHETIC = (
    "Everything made here is synthetic, and files are marked so. Say it when you share them, and do not deceive or hurt "
    "anyone with them."
)
# Only the last part of a path on the server is shown to visitors.
_PATH = re.compile(r"(?:/[^\s/:'\"]+)+/([^\s/:'\"]+)")


class Failure(gr.Error):
    """An error that the visitor could not have avoided."""


def check_consent(consent: bool) -> None:
    """Check that the visitor confirmed the person's consent.

    Raises:
        SuperFaceError: consent was not given.
    """
    if consent is not True:
        raise SuperFaceError(CONSENT_NEEDED)


def needed(value: Any, what: str) -> Any:
    """Return ``value``, after checking that it was given.

    Raises:
        MediaError: nothing was given.
    """
    if value is None or value == "":
        raise MediaError(f"Please add {what} first.")
    return value


def in_words(error: BaseException) -> str:
    """Return the text about an error that a visitor reads; the server's log has the details."""
    if isinstance(error, gr.Error):
        return str(error.message)
    if isinstance(error, NoFaceError):
        text = f"{error} Please choose one in which a face is seen from the front."
    elif isinstance(error, SuperFaceError):
        text = str(error)
    elif isinstance(error, MemoryError):
        text = "This is too large for our memory. Please choose a smaller file."
    else:
        return APOLOGY
    return html.escape(_PATH.sub(r"\1", " ".join(text.split())), quote=False)


def told(what: str, error: Exception, secret: str = "") -> str:
    """Do what :func:`in_words` does, leaving out ``secret``; unexpected errors are also logged."""
    if not isinstance(error, (gr.Error, SuperFaceError)):
        log_fault(what, error, secret)
    return _without(secret, in_words(error))


@contextmanager
def explained() -> Iterator[None]:
    """Turn every exception into a ``gr.Error`` with a text for visitors."""
    try:
        yield
    except gr.Error:
        raise
    except Exception as error:
        kind = gr.Error if isinstance(error, SuperFaceError) else Failure
        raise kind(told("A request failed", error), duration=15, print_exception=False) from None


def log_fault(what: str, error: BaseException, secret: str = "") -> None:
    """Log an error and where it was raised, in one line. With ``TRANSFORMERS_VERBOSITY=debug`` the traceback follows,
    but not if it could contain a visitor's secret."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({last[0].filename}, line {last[0].lineno})" if last else ""
    said = " ".join(_without(secret, str(error)).split())[:300]
    logger.error(f"{what}: {type(error).__name__}: {said}{where}")
    if not secret:
        logger.debug("The traceback:", exc_info=error)


def _without(secret: str, text: str) -> str:
    return text.replace(secret, "(the token)") if secret else text


def for_visitors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a handler (a function or a generator function) so that it raises only errors with a text for visitors."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def stepwise(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with explained():
                yield from function(*args, **kwargs)

        return stepwise

    @functools.wraps(function)
    def at_once(*args: Any, **kwargs: Any) -> Any:
        with explained():
            return function(*args, **kwargs)

    return at_once
