"""The lip reader: tells from pictures of a mouth what it says, as far as lips show it."""

from .configuration_lip_reader import VISEMES, SuperFaceLipReaderConfig
from .modeling_lip_reader import LipReaderOutput, SuperFaceLipReaderModel
from .mouth_pictures import mouth_pictures, mouths_of

__all__ = [
    "VISEMES",
    "LipReaderOutput",
    "SuperFaceLipReaderConfig",
    "SuperFaceLipReaderModel",
    "mouth_pictures",
    "mouths_of",
]
