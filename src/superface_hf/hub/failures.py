"""Explain the errors of loading from and pushing to the Hub: one message for each, with what to do about it.

transformers and huggingface_hub wrap each other's errors, differently in each release. So the whole chain of causes is searched
for the error that explains the failure.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import HubError, SuperFaceError

NO_TOKEN = "hf auth login, the environment variable HF_TOKEN, or token="


class BadConfiguration(ValueError):
    """A configuration holds impossible values; :func:`loading` adds the name of the checkpoint."""


@contextmanager
def loading(source: str | os.PathLike[str], revision: str | None = None) -> Iterator[None]:
    """Turn errors of fetching and reading a checkpoint into a :class:`HubError`; other errors pass.

    Args:
        source: the Hub id or folder that is being loaded.
        revision: the branch, tag or commit asked for.
    """
    with _explained(lambda causes: _loading_failed(causes, str(source), str(revision or "main"))):
        yield


@contextmanager
def pushing(repo_id: str) -> Iterator[None]:
    """Turn errors of uploading a checkpoint into a :class:`HubError`; other errors pass."""
    with _explained(lambda causes: _pushing_failed(causes, repo_id)):
        yield


@contextmanager
def _explained(explain: Callable[[Sequence[BaseException]], str | None]) -> Iterator[None]:
    """Replace an error by the HubError that ``explain`` gives for it and its causes; None keeps the error as it is."""
    handled = sys.exc_info()[1]  # an error that the caller is handling; Python chains new errors to it
    try:
        yield
    except SuperFaceError:
        raise
    except Exception as error:
        message = explain(_causes(error, handled))
        if message is None:
            raise
        raise HubError(message) from error


def _loading_failed(causes: Sequence[BaseException], source: str, revision: str) -> str | None:
    from huggingface_hub import constants, errors
    from safetensors import SafetensorError

    page = f"{constants.ENDPOINT}/{source}"
    for cause in causes:
        text = str(cause)
        if isinstance(cause, errors.GatedRepoError):
            return f"{source} is only for those who were let in: ask for access at {page}, then log in ({NO_TOKEN})."
        if _status(cause) == 401 and "Invalid credentials" in text:
            return _refused_token(constants.ENDPOINT)
        if isinstance(cause, errors.RepositoryNotFoundError):
            return (
                f"There is no model {source} on {constants.ENDPOINT}, or it is private: check the name; for a private model "
                f"give a token that may read it ({NO_TOKEN})."
            )
        if isinstance(cause, errors.RevisionNotFoundError):
            return f"{source} has no branch, tag or commit {revision!r}: its page lists them, {page}/tree/main."
        if isinstance(cause, SafetensorError):
            return (
                f"The weights of {source} are damaged ({text}): "
                + ("copy" if Path(source).is_dir() else "load them with force_download=True, or push")
                + " them again."
            )
        if isinstance(cause, BadConfiguration):
            return f"The config.json of {source} cannot be used: {_one_line(text)}"
        if _was_cut_short(cause):
            return (
                f"The download of {source} was cut short, and nothing incomplete was kept: load it again. If it happens every "
                f"time, the file is damaged on the Hub or on the way. ({_first_line(text)})"
            )
    if _is_offline(causes):
        return (
            f"{source} at revision {revision!r} is not on this machine, and offline mode is on (HF_HUB_OFFLINE): load it once "
            "with it off."
        )
    return _explained_by_message(causes, source, revision)


def _explained_by_message(causes: Sequence[BaseException], source: str, revision: str) -> str | None:
    """Explain errors without a specific type, by their message."""
    from huggingface_hub import constants, errors

    for cause in causes:
        text = str(cause)
        if _cannot_connect(cause) or isinstance(cause, errors.LocalEntryNotFoundError):
            return f"{constants.ENDPOINT} cannot be reached, and {source} is not on this machine: check the connection."
        if isinstance(cause, errors.HFValidationError):
            return f"{source!r} is neither a folder here nor the id of a model on the Hub, such as org/name."
        if "does not appear to have a file named" in text:
            missing = text.split("a file named ", 1)[1].split(". Checkout")[0]
            return (
                f"{source} at revision {revision!r} holds no {missing}: it is not a whole checkpoint of this package."
            )
        if _status(cause):
            return f"The Hub did not give out {source}: {_first_line(text)}"
    return None


def _pushing_failed(causes: Sequence[BaseException], repo_id: str) -> str | None:
    from huggingface_hub import constants, errors

    namespace = repo_id.split("/")[0]
    for cause in causes:
        text, status = str(cause), _status(cause)
        if isinstance(cause, errors.HFValidationError):
            return f"{repo_id!r} is no name for a repository: use org/name, of letters, digits, -, _ and single dots."
        if status == 401 and not isinstance(cause, errors.RevisionNotFoundError):
            return _refused_token(constants.ENDPOINT)
        if status == 403:
            return (
                f"The token may not write to {repo_id}: use one of the kind 'write' of an account that may write to "
                f"{namespace} ({constants.ENDPOINT}/settings/tokens), or push to another name."
            )
        if isinstance(cause, errors.RepositoryNotFoundError):
            return f"{repo_id} exists already and is not for this token: use another name, or a token that may see it."
        if isinstance(cause, errors.RevisionNotFoundError):
            return f"{repo_id} has no such branch to push to: {_first_line(text)}"
        if _cannot_connect(cause):
            return f"{constants.ENDPOINT} cannot be reached, nothing was pushed: check the connection and push again."
        if status:
            return f"The Hub did not take {repo_id}: {_first_line(text)}"
    if _is_offline(causes):
        return f"{repo_id} cannot be pushed in offline mode: unset HF_HUB_OFFLINE."
    return None


def _refused_token(endpoint: str) -> str:
    return f"{endpoint} does not accept this token: make a new one at {endpoint}/settings/tokens, and give it by {NO_TOKEN}."


def _causes(error: BaseException | None, handled: BaseException | None) -> list[BaseException]:
    """Return an error and its causes, without those that were being ``handled`` before."""
    causes: list[BaseException] = []
    while error is not None and error is not handled:
        causes.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return causes


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of an answer of the Hub, or None for other errors."""
    from huggingface_hub.errors import HfHubHTTPError

    return error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None


def _is_http_error(error: BaseException) -> bool:
    """Return whether an error comes from an HTTP library. huggingface_hub has changed its library twice; the errors
    share names, but no type."""
    return type(error).__module__.split(".")[0] in {"httpx", "httpx2", "httpcore", "requests", "urllib3"}


def _was_cut_short(error: BaseException) -> bool:
    cut = type(error).__name__ in {"RemoteProtocolError", "ReadError", "ChunkedEncodingError", "IncompleteRead"}
    return "Consistency check failed" in str(error) or (cut and _is_http_error(error))


def _cannot_connect(error: BaseException) -> bool:
    return _is_http_error(error) and ("Connect" in type(error).__name__ or "Timeout" in type(error).__name__)


def _is_offline(causes: Sequence[BaseException]) -> bool:
    from huggingface_hub import errors, is_offline_mode

    missing = (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled)
    return is_offline_mode() and any(isinstance(cause, missing) for cause in causes)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
