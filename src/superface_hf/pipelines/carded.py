"""The base of our diffusers pipelines, which saves and pushes them with a card and with readable weights."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from diffusers import DiffusionPipeline

from ..hub.upload import Destination, check_token, upload
from ..models.diffusers_model import PathlessConfig
from ..utils.files import follow_umask

_PUSHED = ("private", "token", "revision", "create_pr", "commit_message", "commit_description")


class CardedPipeline(PathlessConfig, DiffusionPipeline):
    """A diffusers pipeline with a card.

    Attributes:
        embedded_folder: the folder of the embedded weights, from which licence notices are copied.
        is_embedded: whether the pipeline has these weights. Only then is their card, with its figures, copied.
    """

    embedded_folder: ClassVar[Path]
    is_embedded = False

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **options: Any
    ) -> None:
        """Save all components, and the card of embedded weights; ``push_to_hub=True`` then pushes that folder."""
        repo_id = options.pop("repo_id", Path(save_directory).name)
        pushed = {name: options.pop(name) for name in _PUSHED if name in options}
        super().save_pretrained(save_directory, **options)
        follow_umask(Path(save_directory))
        for name in ("README.md", "NOTICE") if self.is_embedded else ("NOTICE",):
            if (self.embedded_folder / name).exists() and not (Path(save_directory) / name).exists():
                shutil.copyfile(self.embedded_folder / name, Path(save_directory) / name)
        if push_to_hub:
            self._push_folder(Path(save_directory), repo_id, **pushed)

    def push_to_hub(self, repo_id: str, **options: Any) -> Any:
        """Push all components and the card.

        Args:
            repo_id: the Hub's ``org/name``.
            options: ``private``, ``token``, ``revision``, ``create_pr``, ``commit_message``, ``commit_description``: see
                :class:`~superface_hf.hub.upload.Destination`. Others go to :meth:`save_pretrained`.

        Raises:
            HubError: there is no token, it may not write there, or the Hub refuses.
        """
        pushed = {name: options.pop(name) for name in _PUSHED if name in options}
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, **options)
            return self._push_folder(Path(folder), repo_id, **pushed)

    def _push_folder(self, folder: Path, repo_id: str, **options: Any) -> Any:
        to = Destination(repo_id, **options)
        check_token(to.token)
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        return upload(files, to, f"Upload {type(self).__name__}")
