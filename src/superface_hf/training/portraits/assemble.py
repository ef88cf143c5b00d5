"""Assemble the trained networks as the pipeline that comes with the package::

    python -m superface_hf.training.portraits.assemble FACE_SPACE VOICES OUT

``FACE_SPACE`` is what ``fit`` wrote, ``VOICES`` what ``voices`` wrote; ``OUT`` becomes a diffusers pipeline's folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ...models.face_space.modeling_face_space import FaceSpace
from ...models.speech_to_portrait.modeling_portrait_denoiser import PortraitDenoiser
from ...models.voice_encoder.modeling_voice_encoder import SuperFaceVoiceEncoderModel
from ...pipelines.speech_to_portrait import SpeechToPortraitPipeline, default_scheduler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("face_space", "voices", "out"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    encoder = SuperFaceVoiceEncoderModel.from_pretrained(options.voices / "voice_encoder", dtype=torch.float16)
    pipe = SpeechToPortraitPipeline(
        encoder,
        FaceSpace.from_pretrained(options.face_space),
        PortraitDenoiser.from_pretrained(options.voices / "speech_to_portrait"),
        default_scheduler(),
    )
    pipe.save_pretrained(options.out)


if __name__ == "__main__":
    main()
