"""The matte network: separates a person from the background, once a portrait."""

from .configuration_matte import SuperFaceMatteConfig
from .modeling_matte import MatteOutput, SuperFaceMatteModel

__all__ = ["MatteOutput", "SuperFaceMatteConfig", "SuperFaceMatteModel"]
