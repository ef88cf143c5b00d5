"""Upload checkpoints: weights as safetensors, configuration, processors and card; never a pickle, never code."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HubError
from .cards import CardFacts, add_tags, complete_card, make_card
from .failures import NO_TOKEN, loading, pushing

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, ModelCard
    from transformers import PreTrainedModel

SHARED = {".json", ".safetensors", ".md", ".onnx"}
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4"}


@dataclass(frozen=True)
class Destination:
    """Where to push to, and how.

    Attributes:
        repo_id: ``org/name``, or ``name`` for the user's own namespace.
        private: whether the repository is to be private; None leaves it to the organization's default. An existing
            repository keeps its visibility, but True refuses to push to a public one.
        token: the token to use; by default that of the login.
        revision: the branch, made if it does not exist; by default main.
        create_pr: propose the commit instead of making it.
        commit_message, commit_description: the message and the description of the commit.
    """

    repo_id: str
    private: bool | None = None
    token: bool | str | None = None
    revision: str | None = None
    create_pr: bool = False
    commit_message: str | None = None
    commit_description: str | None = None


def push_checkpoint(
    source: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool | None = None,
    token: bool | str | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    facts: CardFacts | None = None,
) -> CommitInfo:
    """Push a saved checkpoint as it is, file by file, with the card in its folder or else one from the template.

    Args:
        source: the folder of a checkpoint, or the name of an embedded one (``teacher``, ``audio_to_lip``, ...).
        repo_id, private, token, revision, commit_message: see :class:`Destination`.
        facts: for the card.

    Raises:
        HubError: the folder holds no checkpoint of this package, or the Hub does not take it; the message says why.
    """
    from . import WEIGHTS

    to = Destination(repo_id, private, token, revision, False, commit_message)
    check_token(token)
    embedded = WEIGHTS / source
    folder = Path(source) if Path(source).is_dir() else embedded
    if not (folder / "config.json").is_file():
        known = ", ".join(sorted(path.parent.name for path in WEIGHTS.glob("*/config.json")))
        raise HubError(f"{source} is no folder with a config.json, and not one of the embedded checkpoints ({known}).")
    model = _load(folder)
    card = _card(model, to, facts, folder / "README.md")
    return upload(_files(folder, card), to, f"Upload {type(model).__name__}")


def push_model(
    model: PreTrainedModel,
    to: Destination,
    *,
    facts: CardFacts | None = None,
    max_shard_size: int | str = "50GB",
    tags: list[str] | None = None,
) -> CommitInfo:
    """Save a model and push it. Its card is the first of these that exists: the card beside the same weights in the
    folder from which they were loaded, the card in the repository, a new card from the template.

    Raises:
        HubError: the Hub does not take it; the message says why.
    """
    check_token(to.token)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model.save_pretrained(folder, max_shard_size=max_shard_size)
        origin = Path(model.name_or_path or ".")
        written = origin / "README.md" if _same_weights(origin, folder) else None
        card = _card(model, to, facts, written)
        add_tags(card, tags or [])
        files = {**_files(folder, card), **(_pictures(origin, card) if written else {})}
        return upload(files, to, f"Upload {type(model).__name__}")


def upload(files: Mapping[str, Path | bytes], to: Destination, message: str) -> CommitInfo:
    """Make the repository if it does not exist, and commit files to it, by their paths in the repository."""
    from huggingface_hub import CommitOperationAdd, HfApi

    from ..version import __version__

    api = HfApi(library_name="superface-hf", library_version=__version__, token=to.token)
    with pushing(to.repo_id):
        repo_id = api.create_repo(to.repo_id, private=to.private, exist_ok=True).repo_id
        if to.private and not api.model_info(repo_id).private:
            raise HubError(
                f"{repo_id} exists already and is public, so nothing was pushed: make it private in its settings, push to "
                "another name, or leave out private."
            )
        if to.revision and not to.revision.startswith("refs/pr"):
            api.create_branch(repo_id, branch=to.revision, exist_ok=True)
        return api.create_commit(
            repo_id,
            [CommitOperationAdd(path, file) for path, file in files.items()],
            commit_message=to.commit_message or message,
            commit_description=to.commit_description,
            revision=to.revision,
            create_pr=to.create_pr,
        )


def check_token(token: bool | str | None) -> None:
    """Check that there is a token to push with.

    Raises:
        HubError: there is no token.
    """
    from huggingface_hub import get_token

    if token is False or (token in (None, True) and get_token() is None):
        raise HubError(f"Pushing needs a token of the Hub that may write: {NO_TOKEN}.")


def _load(folder: Path) -> PreTrainedModel:
    """Load a checkpoint, which proves that its folder is complete and that the pushed files can be loaded."""
    from transformers import AutoModel

    from .model import HubMixin

    with loading(folder):
        try:
            model = AutoModel.from_pretrained(folder)
        except (OSError, ValueError, RuntimeError) as error:
            raise HubError(f"{folder} holds no checkpoint that loads: {error}") from error
    if not isinstance(model, HubMixin):
        raise HubError(f"{folder} holds a model of type {model.config.model_type}, which is not one of this package's.")
    return model


def _files(folder: Path, card: ModelCard) -> dict[str, Path | bytes]:
    """Return the files of a folder to upload, by their paths in the repository. Folders below it belong to trainers."""
    shared = {path.name: path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix in SHARED}
    return {**shared, **_pictures(folder, card), "README.md": str(card).encode()}


def _pictures(folder: Path, card: ModelCard) -> dict[str, Path | bytes]:
    """Return the pictures that the card shows, and no others, because a folder may hold other people's pictures."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.suffix in PICTURES}
    return {name: path for name, path in sorted(paths.items()) if f"({name})" in card.text}


def _card(model: PreTrainedModel, to: Destination, facts: CardFacts | None, written: Path | None) -> ModelCard:
    facts = facts or CardFacts()
    if facts.base_model is None and _is_hub_id(model.name_or_path) and model.name_or_path != to.repo_id:
        facts = replace(facts, base_model=model.name_or_path)
    if written is not None and written.is_file():
        # A trainer's card names the model by its folder.
        text = written.read_text(encoding="utf-8").replace(f'model="{written.parent.name}"', f'model="{to.repo_id}"')
        return complete_card(text, model, to.repo_id, facts)
    there = _card_on_the_hub(to)
    return make_card(model, to.repo_id, facts) if there is None else complete_card(there, model, to.repo_id, facts)


def _card_on_the_hub(to: Destination) -> str | None:
    """Return the card in the repository, which may have been edited there. The download does not use the cache: a new
    commit with one cached file would leave a fully cached older model without its name (``main``)."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    with pushing(to.repo_id), tempfile.TemporaryDirectory() as folder:
        try:
            path = HfApi(token=to.token).hf_hub_download(
                to.repo_id, "README.md", revision=to.revision, local_dir=folder
            )
        except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError):
            return None
        return Path(path).read_text(encoding="utf-8")


def _is_hub_id(name: str | None) -> bool:
    return bool(name) and str(name).count("/") == 1 and not Path(str(name)).exists()


def _same_weights(origin: Path, saved: Path) -> bool:
    """Return whether two folders hold the same weights, up to the precision that ``origin`` stores. A card's
    measurements hold for its own weights only."""
    from safetensors import safe_open

    name = "model.safetensors"
    if not ((origin / name).is_file() and (saved / name).is_file()):
        return False
    with safe_open(origin / name, "pt") as old, safe_open(saved / name, "pt") as new:
        if set(old.keys()) != set(new.keys()):
            return False
        pairs = ((old.get_tensor(key), new.get_tensor(key)) for key in old.keys())  # noqa: SIM118
        return all(before.shape == now.shape and before.equal(now.to(before.dtype)) for before, now in pairs)
