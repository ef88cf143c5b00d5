"""superface-hf: a photograph, a motion, a moving face.

Importing this registers the ``"talking-face"`` task and the models with transformers. It is cheap: torch and transformers
are imported when something of theirs is first used. Torch's threads then wait without keeping cores from others, if this is
imported before torch is (see :mod:`superface_hf.utils.neighbours`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .registration import register
from .utils.neighbours import wait_passively
from .version import __version__ as __version__

if TYPE_CHECKING:
    from .errors import (
        HubError,
        MediaError,
        MotionError,
        NoFaceError,
        ProvenanceError,
        SeveralFacesError,
        SuperFaceError,
        UnknownNameError,
    )
    from .face_model.linear import FaceModel, FaceShape
    from .media.inspection import Provenance, inspect_file
    from .models.audio_to_lip.configuration_audio_to_lip import SuperFaceAudioToLipConfig
    from .models.audio_to_lip.feature_extraction_audio_to_lip import SuperFaceAudioToLipFeatureExtractor
    from .models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
    from .models.face_space.modeling_face_space import FaceSpace
    from .models.inpainter.configuration_inpainter import SuperFaceInpainterConfig
    from .models.inpainter.modeling_inpainter import SuperFaceInpainterModel
    from .models.lip_reader.configuration_lip_reader import SuperFaceLipReaderConfig
    from .models.lip_reader.modeling_lip_reader import SuperFaceLipReaderModel
    from .models.matte.configuration_matte import SuperFaceMatteConfig
    from .models.matte.modeling_matte import SuperFaceMatteModel
    from .models.restorer.modeling_restorer import CodebookRestorer
    from .models.speech_to_portrait.modeling_portrait_denoiser import PortraitDenoiser
    from .models.student.configuration_student import SuperFaceStudentConfig
    from .models.student.modeling_student import SuperFaceStudentModel
    from .models.sync_expert.configuration_sync_expert import SuperFaceSyncExpertConfig
    from .models.sync_expert.modeling_sync_expert import SuperFaceSyncExpertModel
    from .models.teacher.configuration_teacher import SuperFaceTeacherConfig
    from .models.teacher.modeling_teacher import SuperFaceTeacherModel
    from .models.tracker.configuration_tracker import SuperFaceTrackerConfig
    from .models.tracker.modeling_tracker import SuperFaceTrackerModel
    from .models.voice_encoder.configuration_voice_encoder import SuperFaceVoiceEncoderConfig
    from .models.voice_encoder.modeling_voice_encoder import SuperFaceVoiceEncoderModel
    from .motion import Motion
    from .motion.bundled import bundled_motion
    from .pipelines.clip import TalkingFaceClip
    from .pipelines.speech_to_motion import SpeechToMotionPipeline
    from .pipelines.speech_to_portrait import SpeechToPortraitPipeline
    from .pipelines.speech_to_talking_face import SpeechToTalkingFacePipeline
    from .pipelines.talking_face import TalkingFacePipeline

_HOMES = {
    "CodebookRestorer": ".models.restorer.modeling_restorer",
    "FaceModel": ".face_model.linear",
    "FaceShape": ".face_model.linear",
    "FaceSpace": ".models.face_space.modeling_face_space",
    "HubError": ".errors",
    "MediaError": ".errors",
    "Motion": ".motion",
    "MotionError": ".errors",
    "NoFaceError": ".errors",
    "PortraitDenoiser": ".models.speech_to_portrait.modeling_portrait_denoiser",
    "Provenance": ".media.inspection",
    "ProvenanceError": ".errors",
    "SeveralFacesError": ".errors",
    "SpeechToMotionPipeline": ".pipelines.speech_to_motion",
    "SpeechToPortraitPipeline": ".pipelines.speech_to_portrait",
    "SpeechToTalkingFacePipeline": ".pipelines.speech_to_talking_face",
    "SuperFaceAudioToLipConfig": ".models.audio_to_lip.configuration_audio_to_lip",
    "SuperFaceAudioToLipFeatureExtractor": ".models.audio_to_lip.feature_extraction_audio_to_lip",
    "SuperFaceAudioToLipModel": ".models.audio_to_lip.modeling_audio_to_lip",
    "SuperFaceError": ".errors",
    "SuperFaceInpainterConfig": ".models.inpainter.configuration_inpainter",
    "SuperFaceInpainterModel": ".models.inpainter.modeling_inpainter",
    "SuperFaceLipReaderConfig": ".models.lip_reader.configuration_lip_reader",
    "SuperFaceLipReaderModel": ".models.lip_reader.modeling_lip_reader",
    "SuperFaceMatteConfig": ".models.matte.configuration_matte",
    "SuperFaceMatteModel": ".models.matte.modeling_matte",
    "SuperFaceStudentConfig": ".models.student.configuration_student",
    "SuperFaceStudentModel": ".models.student.modeling_student",
    "SuperFaceSyncExpertConfig": ".models.sync_expert.configuration_sync_expert",
    "SuperFaceSyncExpertModel": ".models.sync_expert.modeling_sync_expert",
    "SuperFaceTeacherConfig": ".models.teacher.configuration_teacher",
    "SuperFaceTeacherModel": ".models.teacher.modeling_teacher",
    "SuperFaceTrackerConfig": ".models.tracker.configuration_tracker",
    "SuperFaceTrackerModel": ".models.tracker.modeling_tracker",
    "SuperFaceVoiceEncoderConfig": ".models.voice_encoder.configuration_voice_encoder",
    "SuperFaceVoiceEncoderModel": ".models.voice_encoder.modeling_voice_encoder",
    "TalkingFaceClip": ".pipelines.clip",
    "TalkingFacePipeline": ".pipelines.talking_face",
    "UnknownNameError": ".errors",
    "bundled_motion": ".motion.bundled",
    "inspect_file": ".media.inspection",
}

__all__ = [
    "CodebookRestorer",
    "FaceModel",
    "FaceShape",
    "FaceSpace",
    "HubError",
    "MediaError",
    "Motion",
    "MotionError",
    "NoFaceError",
    "PortraitDenoiser",
    "Provenance",
    "ProvenanceError",
    "SeveralFacesError",
    "SpeechToMotionPipeline",
    "SpeechToPortraitPipeline",
    "SpeechToTalkingFacePipeline",
    "SuperFaceAudioToLipConfig",
    "SuperFaceAudioToLipFeatureExtractor",
    "SuperFaceAudioToLipModel",
    "SuperFaceError",
    "SuperFaceInpainterConfig",
    "SuperFaceInpainterModel",
    "SuperFaceLipReaderConfig",
    "SuperFaceLipReaderModel",
    "SuperFaceMatteConfig",
    "SuperFaceMatteModel",
    "SuperFaceStudentConfig",
    "SuperFaceStudentModel",
    "SuperFaceSyncExpertConfig",
    "SuperFaceSyncExpertModel",
    "SuperFaceTeacherConfig",
    "SuperFaceTeacherModel",
    "SuperFaceTrackerConfig",
    "SuperFaceTrackerModel",
    "SuperFaceVoiceEncoderConfig",
    "SuperFaceVoiceEncoderModel",
    "TalkingFaceClip",
    "TalkingFacePipeline",
    "UnknownNameError",
    "bundled_motion",
    "inspect_file",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


wait_passively()
register()
