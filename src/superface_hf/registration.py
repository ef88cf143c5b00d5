"""Makes transformers know this package's models and its task, without importing transformers before it is needed.

transformers has no plug-in entry points: somebody must call its ``register`` functions. Calling them on ``import
superface_hf`` would cost five seconds (torch and all of the pipelines) even for ``superface --help``. So they are called at
the moment when the part of transformers that holds the registry is imported, or at once if it has been.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

TASK = "talking-face"


def register() -> None:
    """Registers the Auto classes and the task as soon as transformers' registries exist."""
    for module, action in ACTIONS.items():
        if getattr(getattr(sys.modules.get(module), "__spec__", None), "_initializing", True):
            sys.meta_path.insert(0, _AfterImport(module, action))
        else:
            action()


def register_configs() -> None:
    from transformers import AutoConfig

    from .models.teacher.configuration_teacher import SuperFaceTeacherConfig
    from .models.tracker.configuration_tracker import SuperFaceTrackerConfig

    for config in (SuperFaceTeacherConfig, SuperFaceTrackerConfig):
        AutoConfig.register(config.model_type, config, exist_ok=True)


def register_models() -> None:
    from transformers import AutoModel

    from .models.teacher.modeling_teacher import SuperFaceTeacherModel
    from .models.tracker.modeling_tracker import SuperFaceTrackerModel

    for model in (SuperFaceTeacherModel, SuperFaceTrackerModel):
        AutoModel.register(model.config_class, model, exist_ok=True)


def register_task() -> None:
    from transformers import AutoModel
    from transformers.pipelines import PIPELINE_REGISTRY

    from .hub import WEIGHTS
    from .pipelines.talking_face import TalkingFacePipeline

    if TASK in PIPELINE_REGISTRY.supported_tasks:
        return
    PIPELINE_REGISTRY.register_pipeline(
        TASK,
        pipeline_class=TalkingFacePipeline,
        pt_model=AutoModel,
        default={"model": (str(WEIGHTS / "teacher"), None)},
        type="multimodal",
    )
    # What is saved with a model must not hold the path of this machine's embedded weights.
    registered = TalkingFacePipeline._registered_impl[TASK]
    TalkingFacePipeline._registered_impl = {TASK: {key: value for key, value in registered.items() if key != "default"}}


ACTIONS: dict[str, Callable[[], None]] = {
    "transformers.models.auto.configuration_auto": register_configs,
    "transformers.models.auto.modeling_auto": register_models,
    "transformers.pipelines": register_task,
}


class _AfterImport(MetaPathFinder):
    """Lets the usual finders import one module, and calls an action when it is complete."""

    def __init__(self, module: str, action: Callable[[], None]) -> None:
        self._module, self._action = module, action

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._module:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenCall(spec.loader, self._action)
        return spec


class _ThenCall(Loader):
    def __init__(self, loader: Loader, action: Callable[[], None]) -> None:
        self._loader, self._action = loader, action

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._action()
