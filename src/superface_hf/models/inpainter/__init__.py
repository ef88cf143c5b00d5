"""The inpainter: paints a plausible background behind a person, once a portrait."""

from .configuration_inpainter import SuperFaceInpainterConfig
from .modeling_inpainter import InpainterOutput, SuperFaceInpainterModel
from .pull_push import pull_push

__all__ = ["InpainterOutput", "SuperFaceInpainterConfig", "SuperFaceInpainterModel", "pull_push"]
