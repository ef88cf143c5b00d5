"""What every model of this package can do with the Hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

from ..errors import HubError
from .cards import CardFacts
from .failures import loading
from .upload import Destination, push_model

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

    _Model = PreTrainedModel
else:
    _Model = object

_PUSHED = ("repo_id", "private", "token", "revision", "create_pr", "commit_message", "commit_description", "tags")
_WHERE = ("cache_dir", "local_files_only", "token", "revision", "subfolder")


class HubMixin(_Model):
    """Stands before ``PreTrainedModel`` among a model's parents: our card, our errors, and no pickles."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As every model's, from safetensors only.

        Raises:
            HubError: there is no such model or revision, it is of another type, or it cannot be fetched or read.
        """
        source = pretrained_model_name_or_path
        if source is None:  # a configuration and a state_dict are given
            return super().from_pretrained(source, *args, **kwargs)
        kwargs.setdefault("use_safetensors", True)
        where = {key: kwargs[key] for key in _WHERE if key in kwargs}
        with loading(source, kwargs.get("revision")):
            if not isinstance(kwargs.get("config"), PreTrainedConfig):  # AutoModel has read it already
                cls._refuse_other_types(source, where)
            _fetch_weights(source, where)
            return super().from_pretrained(source, *args, **kwargs)

    @classmethod
    def _refuse_other_types(cls, source: str | os.PathLike[str], where: dict[str, Any]) -> None:
        """transformers would warn, and fill what does not fit at random."""
        found, _ = PreTrainedConfig.get_config_dict(source, **where)
        assert cls.config_class is not None
        expected = cls.config_class.model_type
        if not found:
            raise HubError(f"{source} holds no config.json: it is no checkpoint of this package.")
        if found.get("model_type") != expected:
            raise HubError(
                f"{source} holds a model of type {found.get('model_type')!r}; {cls.__name__} needs one of type {expected!r}."
            )

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *args: Any, push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """As every model's; ``push_to_hub=True`` then pushes, with the arguments of :meth:`push_to_hub` that are given."""
        to = {key: kwargs.pop(key) for key in _PUSHED if push_to_hub and key in kwargs}
        super().save_pretrained(save_directory, *args, **kwargs)
        if push_to_hub:
            self.push_to_hub(**{"repo_id": Path(save_directory).name, **to})

    def push_to_hub(  # type: ignore[override]
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str | None = None,
        commit_description: str | None = None,
        max_shard_size: int | str = "50GB",
        tags: list[str] | None = None,
        facts: CardFacts | None = None,
    ) -> CommitInfo:
        """Pushes weights (safetensors), configuration, feature extractor and a filled model card.

        Args:
            repo_id, private, token, revision, create_pr, commit_message, commit_description: see
                :class:`~superface_hf.hub.upload.Destination`.
            max_shard_size: larger weights are split into files of this size.
            tags: more tags for the card.
            facts: what the card is to say about how this checkpoint was made, measured and agreed to.

        Raises:
            HubError: there is no token, it may not write there, or the Hub refuses; the message says what to do.
        """
        to = Destination(repo_id, private, token, revision, create_pr, commit_message, commit_description)
        return push_model(self, to, facts=facts, max_shard_size=max_shard_size, tags=tags)


def _fetch_weights(source: str | os.PathLike[str], where: dict[str, Any]) -> None:
    """Fails where there are none as safetensors: transformers would have a service of others' convert a pickle, and hand it
    the user's token."""
    try:
        cached_file(source, SAFE_WEIGHTS_NAME, **where)
    except OSError as error:
        if "does not appear to have" not in str(error):
            raise
        try:
            cached_file(source, SAFE_WEIGHTS_INDEX_NAME, **where)
        except OSError:
            raise error from None
