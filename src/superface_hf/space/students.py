"""Load students: the bundled one, one of the Hub, or the one that the visitor has just made."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HubError, SuperFaceError
from ..utils.remembered import Remembered
from .studio import Studio

if TYPE_CHECKING:
    from ..pipelines.talking_face import TalkingFacePipeline

BUNDLED, OF_THE_HUB, OWN = "bundled", "hub", "own"
# A student has a few MB; a larger file is no student, and could fill the disk.
MAX_BYTES = 64 * 2**20
KEPT_LOADED = 3
# A repository's name on the Hub; a path on this machine must not match.
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


class Students:
    """Loads each student once.

    Args:
        studio: the models that all students share.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._loaded: Remembered[TalkingFacePipeline] = Remembered(KEPT_LOADED)

    def load(self, kind: str, repo_id: str, own: str | None) -> TalkingFacePipeline:
        """Return the pipeline of a student.

        Args:
            kind: "bundled", "hub" or "own".
            repo_id: the student's name on the Hub, for "hub".
            own: the folder of the visitor's student, for "own".

        Raises:
            SuperFaceError: there is no such student, or it cannot be downloaded.
        """
        if kind == OF_THE_HUB:
            return self._load(checked_repo_id(repo_id), checked=False)
        if kind == BUNDLED:
            return self._load(str(self._studio.student()))
        if kind == OWN:
            if own is None or not Path(own).is_dir():
                raise SuperFaceError(
                    "You have not made a student yet. The tab “Make a student”, beside “Hear it talk”, does it."
                )
            return self._load(own)
        raise SuperFaceError(f"Choose one of these students: {BUNDLED}, {OF_THE_HUB}, {OWN}.")

    def _load(self, source: str, checked: bool = True) -> TalkingFacePipeline:
        def make() -> TalkingFacePipeline:
            from transformers import pipeline

            from ..hub import loading
            from ..models.student.modeling_student import SuperFaceStudentModel

            if not checked:
                _check_size(source)
            teacher = self._studio.pipe
            with loading(source):
                model = SuperFaceStudentModel.from_pretrained(source)
                return pipeline(  # type: ignore[call-overload]
                    "talking-face",
                    model=model,
                    device="cpu",  # a student is fast enough there
                    tracker=teacher.tracker,
                    face_model=teacher.face_model,
                    audio_to_lip=teacher.audio_to_lip if teacher.device.type == "cpu" else None,
                )

        return self._loaded.get(source, make)


def checked_repo_id(repo_id: str) -> str:
    """Return the name of a repository on the Hub, without its address.

    Raises:
        HubError: it is not the name of a repository, for example a path on this machine.
    """
    repo_id = (repo_id or "").strip().removeprefix("https://huggingface.co/").rstrip("/")
    # transformers would take a folder that lies where the server was started.
    if not _REPO_ID.fullmatch(repo_id) or ".." in repo_id or Path(repo_id).exists():
        raise HubError("A student of the Hub has a name like “someone/superface-student-alice”.")
    return repo_id


def _check_size(repo_id: str) -> None:
    """Check the size of a student on the Hub before it is downloaded; skipped offline."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    from ..hub import loading

    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE"):
        return
    with loading(repo_id):
        size = get_hf_file_metadata(hf_hub_url(repo_id, "model.safetensors"), token=False).size or 0
    if size > MAX_BYTES:
        raise HubError(f"{repo_id} has {size / 2**20:.0f} MB: that is no student. Students are a few MB.")
