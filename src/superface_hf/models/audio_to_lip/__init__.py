"""Speech to the mouth region of ``Motion``: log-mel features, a causal network with a short look-ahead, and its streams."""

from .configuration_audio_to_lip import SuperFaceAudioToLipConfig
from .feature_extraction_audio_to_lip import SuperFaceAudioToLipFeatureExtractor
from .modeling_audio_to_lip import AudioToLipOutput, SuperFaceAudioToLipModel

__all__ = [
    "AudioToLipOutput",
    "SuperFaceAudioToLipConfig",
    "SuperFaceAudioToLipFeatureExtractor",
    "SuperFaceAudioToLipModel",
]
