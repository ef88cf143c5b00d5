"""The perceptual judge's backbone, which travels with packed pictures: a training machine may have no package registry."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file

from ...errors import SuperFaceError
from ...models.backbone import LiteBackbone

JUDGE = "imagenet.safetensors"
JUDGE_STAGES = 5


def packed_backbone(folder: Path) -> LiteBackbone:
    """Return the ImageNet stages that ``pack_pictures`` put into the folder.

    Raises:
        SuperFaceError: they are not there.
    """
    if not (folder / JUDGE).is_file():
        raise SuperFaceError(f"{folder} holds no {JUDGE}: make the folder with superface_hf.data.pictures.pack.")
    backbone = LiteBackbone(JUDGE_STAGES)
    backbone.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in load_file(folder / JUDGE).items()}
    )
    return backbone


def save_judge(folder: Path) -> None:
    """Save the first stages of an ImageNet network, with which trainings compare pictures, in half precision."""
    from ...models.imagenet import imagenet_backbone

    state = imagenet_backbone(JUDGE_STAGES).state_dict()
    save_file({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, folder / JUDGE)
