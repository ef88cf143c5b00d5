"""The base of the modules for ``evaluate``, which are described by their docstrings."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import datasets
import evaluate
import numpy as np
import torch
from PIL import Image

NUMBER = datasets.Value("float32")
PICTURE = datasets.Image()
PICTURES = datasets.Sequence(PICTURE)
MOUTH = datasets.Sequence(datasets.Sequence(NUMBER))  # (frames, 30)
MOTION = datasets.Sequence(datasets.Sequence(NUMBER))  # (frames, 66), see ``superface_hf.motion.rows``
SOUND = datasets.Sequence(NUMBER)
EMBEDDING = datasets.Sequence(NUMBER)  # (128,)
NUMBER_OF = datasets.Value("int32")  # which person or sound
LANDMARKS = datasets.Sequence(datasets.Sequence(datasets.Sequence(NUMBER)))  # (frames, 478, 3)

SUPERFACE_CITATION = """\
@misc{superface_hf, title={superface-hf: talking faces for the Hugging Face world}, year={2026}}
"""


class SuperFaceMetric(evaluate.Metric, ABC):
    """An ``evaluate`` module: the class parameters name the features of ``add`` and ``compute``, and its docstring
    describes it.

    ::

        class Psnr(SuperFaceMetric, predictions=PICTURE, references=PICTURE): ...

    The docstring's part before "Args:" is the description, the rest says what it takes. This class is abstract, so that
    ``evaluate.load`` passes it over when it looks for a file's metric.
    """

    FEATURES: ClassVar[dict[str, Any]]
    CITATION: ClassVar[str] = SUPERFACE_CITATION

    def __init_subclass__(cls, **features: Any) -> None:
        super().__init_subclass__()
        cls.FEATURES = features

    def _info(self) -> evaluate.MetricInfo:
        description, _, inputs = (inspect.getdoc(type(self)) or "").partition("Args:\n")
        return evaluate.MetricInfo(
            description=description.strip(),
            inputs_description=f"Args:\n{inputs}",
            citation=self.CITATION,
            features=datasets.Features(self.FEATURES),
        )

    @abstractmethod
    def _compute(self, *args: Any, **inputs: Any) -> dict[str, Any]: ...


def load_pictures(items: Sequence[Any]) -> list[np.ndarray]:
    """Convert pictures from ``evaluate`` to (H, W, 3) uint8 each."""
    return [np.asarray(item.convert("RGB") if isinstance(item, Image.Image) else item, np.uint8) for item in items]


def as_tensor(picture: np.ndarray) -> torch.Tensor:
    """Convert a picture (H, W, 3) uint8 to (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
