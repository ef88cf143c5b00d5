"""Register this package's models and task with transformers and diffusers, without importing those before they are
needed.

transformers has no plug-in entry points: its ``register`` functions must be called. Calling them on ``import superface_hf``
would cost five seconds (torch and all pipelines) even for ``superface --help``. So they are called when the part of
transformers that holds the registry is imported, or at once if it is imported already.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

TASK = "talking-face"


def register() -> None:
    """Register the Auto classes and the task as soon as transformers' registries exist."""
    for module in WATCHED:
        if _complete(module):
            _pending.extend(_actions(module))
        else:
            sys.meta_path.insert(0, _AfterImport(module))
    _run_pending()


def register_configs() -> None:
    from transformers import AutoConfig

    from .models.audio_to_lip.configuration_audio_to_lip import SuperFaceAudioToLipConfig
    from .models.inpainter.configuration_inpainter import SuperFaceInpainterConfig
    from .models.lip_reader.configuration_lip_reader import SuperFaceLipReaderConfig
    from .models.matte.configuration_matte import SuperFaceMatteConfig
    from .models.student.configuration_student import SuperFaceStudentConfig
    from .models.sync_expert.configuration_sync_expert import SuperFaceSyncExpertConfig
    from .models.teacher.configuration_teacher import SuperFaceTeacherConfig
    from .models.tracker.configuration_tracker import SuperFaceTrackerConfig
    from .models.voice_encoder.configuration_voice_encoder import SuperFaceVoiceEncoderConfig

    for config in (
        SuperFaceAudioToLipConfig,
        SuperFaceInpainterConfig,
        SuperFaceLipReaderConfig,
        SuperFaceMatteConfig,
        SuperFaceStudentConfig,
        SuperFaceSyncExpertConfig,
        SuperFaceTeacherConfig,
        SuperFaceTrackerConfig,
        SuperFaceVoiceEncoderConfig,
    ):
        AutoConfig.register(config.model_type, config, exist_ok=True)


def register_models() -> None:
    from transformers import AutoModel

    from .models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
    from .models.inpainter.modeling_inpainter import SuperFaceInpainterModel
    from .models.lip_reader.modeling_lip_reader import SuperFaceLipReaderModel
    from .models.matte.modeling_matte import SuperFaceMatteModel
    from .models.student.modeling_student import SuperFaceStudentModel
    from .models.sync_expert.modeling_sync_expert import SuperFaceSyncExpertModel
    from .models.teacher.modeling_teacher import SuperFaceTeacherModel
    from .models.tracker.modeling_tracker import SuperFaceTrackerModel
    from .models.voice_encoder.modeling_voice_encoder import SuperFaceVoiceEncoderModel

    for model in (
        SuperFaceAudioToLipModel,
        SuperFaceInpainterModel,
        SuperFaceLipReaderModel,
        SuperFaceMatteModel,
        SuperFaceStudentModel,
        SuperFaceSyncExpertModel,
        SuperFaceTeacherModel,
        SuperFaceTrackerModel,
        SuperFaceVoiceEncoderModel,
    ):
        AutoModel.register(model.config_class, model, exist_ok=True)


def register_feature_extractors() -> None:
    from transformers import AutoFeatureExtractor

    from .models.audio_to_lip.configuration_audio_to_lip import SuperFaceAudioToLipConfig
    from .models.audio_to_lip.feature_extraction_audio_to_lip import SuperFaceAudioToLipFeatureExtractor

    AutoFeatureExtractor.register(SuperFaceAudioToLipConfig, SuperFaceAudioToLipFeatureExtractor, exist_ok=True)


def register_task() -> None:
    from transformers.pipelines import PIPELINE_REGISTRY
    from transformers.pipelines import logger as pipelines_logger

    from .hub import WEIGHTS
    from .hub.quiet import ExpectedDefault
    from .pipelines.talking_face import TalkingFacePipeline
    from .renderers.auto import AutoRenderer

    if TASK in PIPELINE_REGISTRY.supported_tasks:
        return
    default = str(WEIGHTS / "teacher")
    pipelines_logger.addFilter(ExpectedDefault(default))
    PIPELINE_REGISTRY.register_pipeline(
        TASK,
        pipeline_class=TalkingFacePipeline,
        pt_model=AutoRenderer,
        default={"model": (default, None)},
        type="multimodal",
    )
    # A saved model must not contain the path of this machine's embedded weights.
    registered: Any = TalkingFacePipeline
    task = {key: value for key, value in registered._registered_impl[TASK].items() if key != "default"}
    registered._registered_impl = {TASK: task}


def register_diffusers() -> None:
    """Set the pipelines as attributes of ``diffusers``, where ``DiffusionPipeline.from_pretrained`` looks their classes
    up by name.

    For a folder on the Hub it looks up the modules of the components on ``diffusers.pipelines``, by their full names.
    """
    import diffusers
    import diffusers.pipelines

    from .models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
    from .models.face_space.modeling_face_space import FaceSpace
    from .models.restorer.modeling_restorer import CodebookRestorer
    from .models.speech_to_motion.denoiser import MotionDenoiser
    from .models.speech_to_motion.lip_refiner import LipRefiner
    from .models.speech_to_motion.motion_statistics import MotionStatistics
    from .models.speech_to_portrait.modeling_portrait_denoiser import PortraitDenoiser
    from .models.teacher.modeling_teacher import SuperFaceTeacherModel
    from .models.voice_encoder.modeling_voice_encoder import SuperFaceVoiceEncoderModel
    from .pipelines.speech_to_motion import SpeechToMotionPipeline
    from .pipelines.speech_to_portrait import SpeechToPortraitPipeline
    from .pipelines.speech_to_talking_face import SpeechToTalkingFacePipeline

    for pipeline in (SpeechToMotionPipeline, SpeechToPortraitPipeline, SpeechToTalkingFacePipeline):
        setattr(diffusers, pipeline.__name__, pipeline)
    for component in (
        CodebookRestorer,
        FaceSpace,
        LipRefiner,
        MotionDenoiser,
        MotionStatistics,
        PortraitDenoiser,
        SuperFaceAudioToLipModel,
        SuperFaceTeacherModel,
        SuperFaceVoiceEncoderModel,
    ):
        setattr(diffusers.pipelines, component.__module__, sys.modules[component.__module__])


ACTIONS: dict[str, Callable[[], None]] = {
    "transformers.models.auto.configuration_auto": register_configs,
    "transformers.models.auto.modeling_auto": register_models,
    "transformers.models.auto.feature_extraction_auto": register_feature_extractors,
    "transformers.pipelines": register_task,
    "diffusers.pipelines.pipeline_utils": register_diffusers,
}
# These modules import those above while they are only half imported themselves. Our models need them complete, so the actions
# wait until the outermost of all these modules is complete.
DIFFUSERS_USERS = (
    "superface_hf.models.face_space.modeling_face_space",
    "superface_hf.models.restorer.modeling_restorer",
    "superface_hf.models.speech_to_motion.denoiser",
    "superface_hf.models.speech_to_motion.lip_refiner",
    "superface_hf.models.speech_to_motion.motion_statistics",
    "superface_hf.models.speech_to_portrait.modeling_portrait_denoiser",
    "superface_hf.pipelines.speech_to_motion",
    "superface_hf.pipelines.speech_to_portrait",
    "superface_hf.pipelines.speech_to_talking_face",
)
WATCHED = ("transformers.modeling_utils", *DIFFUSERS_USERS, *ACTIONS)

_pending: list[Callable[[], None]] = []
_being_imported: list[str] = []


def _actions(module: str) -> list[Callable[[], None]]:
    return [ACTIONS[module]] if module in ACTIONS else []


def _complete(module: str) -> bool:
    spec = getattr(sys.modules.get(module), "__spec__", None)
    return spec is not None and not getattr(spec, "_initializing", False)


def _run_pending() -> None:
    """Run the pending actions. An action imports our models, which may import more of transformers; actions that this
    adds run after it."""
    if _being_imported:
        return
    _being_imported.append("an action")
    try:
        while _pending:
            _pending.pop(0)()
    finally:
        _being_imported.remove("an action")


class _AfterImport(MetaPathFinder):
    """A finder that lets the usual finders find one module, and runs the module's actions after its import."""

    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._module:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenAct(spec.loader)
        return spec


class _ThenAct(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        _being_imported.append(module.__name__)
        try:
            self._loader.exec_module(module)
        finally:
            _being_imported.remove(module.__name__)
        _pending.extend(_actions(module.__name__))
        _run_pending()
