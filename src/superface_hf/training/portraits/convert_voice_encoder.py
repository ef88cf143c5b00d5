"""Take over the weights of Resemblyzer's voice encoder::

    python -m superface_hf.training.portraits.convert_voice_encoder --wheel Resemblyzer-0.1.4-py3-none-any.whl --out FOLDER

The wheel comes from PyPI (``pip download --no-deps resemblyzer==0.1.4``, Apache-2.0). Of its checkpoint only the network's
weights are read, without running any code of it. The heads start at zero; ``training.portraits.voices`` fits them.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import torch

from ...models.voice_encoder.configuration_voice_encoder import SuperFaceVoiceEncoderConfig
from ...models.voice_encoder.modeling_voice_encoder import SuperFaceVoiceEncoderModel

CHECKPOINT = "resemblyzer/pretrained.pt"


def converted(wheel: Path) -> SuperFaceVoiceEncoderModel:
    """Return the voice encoder with the wheel's weights."""
    with zipfile.ZipFile(wheel) as archive:
        content = torch.load(io.BytesIO(archive.read(CHECKPOINT)), map_location="cpu", weights_only=True)
    model = SuperFaceVoiceEncoderModel(SuperFaceVoiceEncoderConfig()).eval()
    own = model.state_dict()
    theirs = {name: weight for name, weight in content["model_state"].items() if name in own}
    missing = [name for name in own if name.startswith(("lstm.", "linear.")) and name not in theirs]
    if missing:
        raise ValueError(f"{wheel} lacks {', '.join(missing)}: it is no wheel of Resemblyzer 0.1.4.")
    model.load_state_dict(theirs, strict=False)
    with torch.no_grad():
        model.heads.weight.zero_()
        model.heads.bias.zero_()
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes a voice encoder checkpoint of Resemblyzer's wheel.")
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    converted(options.wheel).half().save_pretrained(options.out)


if __name__ == "__main__":
    main()
