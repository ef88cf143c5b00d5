"""What all models of this package have in common: how they are loaded, saved and pushed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedModel

from ..errors import HubError
from ..utils.files import follow_umask
from .cards import CardFacts
from .checkpoint import check_finite, check_headers, read_config, weight_files
from .failures import BadConfiguration, loading
from .quiet import quiet_loading
from .upload import Destination, push_model

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

    _Model = PreTrainedModel
else:
    _Model = object

_PUSHED = ("repo_id", "private", "token", "revision", "create_pr", "commit_message", "commit_description", "tags")
_WHERE = ("cache_dir", "local_files_only", "token", "revision", "subfolder")


class HubMixin(_Model):
    """Loads, saves and pushes a model safely: with our card and our errors, without pickles, and with checks of
    untrusted files. It stands before ``PreTrainedModel`` among a model's base classes."""

    #: The dtype to load weights in where the caller names none; None keeps transformers' default. Checkpoints may be stored in
    #: half precision.
    default_dtype: ClassVar[torch.dtype | None] = None

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load the model as every transformers model, but from safetensors only.

        Raises:
            HubError: there is no such model or revision, it is of another type, cannot be fetched or read, has impossible
                sizes, or its weights are missing, misshapen or not finite.
        """
        source = pretrained_model_name_or_path
        if source is None:  # a configuration and a state_dict are given
            return super().from_pretrained(source, *args, **kwargs)
        kwargs.setdefault("use_safetensors", True)
        if cls.default_dtype is not None and "torch_dtype" not in kwargs:
            kwargs.setdefault("dtype", cls.default_dtype)
        with loading(source, kwargs.get("revision")):
            where = {key: kwargs[key] for key in _WHERE if key in kwargs}
            cls._check_files(source, where, kwargs)  # this downloads the weights, with a progress bar
            with quiet_loading():
                model = super().from_pretrained(source, *args, **kwargs)
            loaded = model[0] if isinstance(model, tuple) else model  # with output_loading_info
            check_finite(loaded, source)
            loaded.check_stored()
            return model

    @classmethod
    def _check_files(cls, source: str | os.PathLike[str], where: dict[str, Any], kwargs: dict[str, Any]) -> None:
        """Check configuration and weights of a checkpoint. transformers would only warn, and fill weights that do not
        fit at random."""
        found = read_config(source, where)
        kind: Any = cls.config_class
        if found.get("model_type") != kind.model_type:
            raise HubError(
                f"{source} holds a model of type {found.get('model_type')!r}; {cls.__name__} needs one of type "
                f"{kind.model_type!r}."
            )
        files = weight_files(source, where)
        config = kwargs.get("config")
        if not isinstance(config, kind):
            config = kind.from_dict({**found, **{key: kwargs[key] for key in kind.settings() & set(kwargs)}})
        cls.check_config(config)
        if kwargs.get("ignore_mismatched_sizes"):
            return
        try:
            with torch.device("meta"):
                model = cls(config)
        except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, StrictDataclassError) as error:
            raise BadConfiguration(f"no model can be built from it ({str(error)[:200]})") from error
        check_headers(model, files, source)

    @classmethod
    def check_config(cls, config: Any) -> None:
        """Refuse a configuration that this model must not have; each model adds its own checks.

        Raises:
            BadConfiguration: the configuration is refused.
        """

    def check_stored(self) -> None:
        """Refuse impossible stored data other than weights; most models store none.

        Raises:
            HubError: the stored data is impossible.
        """

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *args: Any, push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """Save the model as every transformers model; ``push_to_hub=True`` then pushes it, with the arguments of
        :meth:`push_to_hub`."""
        to = {key: kwargs.pop(key) for key in _PUSHED if push_to_hub and key in kwargs}
        with quiet_loading():
            super().save_pretrained(save_directory, *args, **kwargs)
        follow_umask(Path(save_directory))
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
        """Push weights (safetensors), configuration, feature extractor and a filled model card.

        Args:
            repo_id, private, token, revision, create_pr, commit_message, commit_description: see
                :class:`~superface_hf.hub.upload.Destination`.
            max_shard_size: larger weights are split into files of this size.
            tags: more tags for the card.
            facts: what the card says about how this checkpoint was made and measured, and about consent.

        Raises:
            HubError: there is no token, it may not write there, or the Hub refuses; the message says what to do.
        """
        to = Destination(repo_id, private, token, revision, create_pr, commit_message, commit_description)
        return push_model(self, to, facts=facts, max_shard_size=max_shard_size, tags=tags)
