"""Audio-to-lip: predicts the mouth region of ``Motion`` from speech, with log-mel features and a causal network that
can stream."""

from .configuration_audio_to_lip import SuperFaceAudioToLipConfig
from .feature_extraction_audio_to_lip import SuperFaceAudioToLipFeatureExtractor
from .modeling_audio_to_lip import AudioToLipOutput, SuperFaceAudioToLipModel

__all__ = [
    "AudioToLipOutput",
    "SuperFaceAudioToLipConfig",
    "SuperFaceAudioToLipFeatureExtractor",
    "SuperFaceAudioToLipModel",
]
