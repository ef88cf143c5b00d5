"""Fills the place of a person with what may be behind, once a portrait."""

from .configuration_inpainter import SuperFaceInpainterConfig
from .modeling_inpainter import InpainterOutput, SuperFaceInpainterModel
from .pull_push import pull_push

__all__ = ["InpainterOutput", "SuperFaceInpainterConfig", "SuperFaceInpainterModel", "pull_push"]
