"""ConRe, a recipe for large sets: contrast draws voice and face into one space.

After "See the Speaker" (arXiv 2510.26819). InfoNCE of voice embeddings against FaceSpace latents, with a memory bank, and
negatives of the speaker's own presentation only, so that presentation alone cannot win. It needs sets of VoxCeleb's or
AVSpeech's size (thousands of people). With the hundred people of the embedded weights it learns nothing that holds, and is not
used there::

    python -m superface_hf.training.portraits.conre PAIRS.npz OUT --steps 20000

``PAIRS.npz`` holds ``voices`` (N, 256), ``latents`` (N, D), ``masculine`` (N,) and ``person`` (N,), a row a recording.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn


@dataclass(frozen=True)
class ConReSettings:
    """How ConRe is trained.

    Attributes:
        size: of the common space.
        batch, bank: pairs of a step, and of earlier steps that are remembered as negatives.
        temperature: of InfoNCE.
        steps, learning_rate: of AdamW.
        momentum: of the slow encoders whose outputs the bank holds.
    """

    size: int = 128
    batch: int = 256
    bank: int = 8192
    temperature: float = 0.07
    steps: int = 20000
    learning_rate: float = 3e-4
    momentum: float = 0.999


class ConRe(nn.Module):
    """Two projections into a common space: of voices (B, 256) and of faces (B, D); both come out with length 1."""

    def __init__(self, voice_size: int, face_size: int, size: int) -> None:
        super().__init__()
        self.voice = _projection(voice_size, size)
        self.face = _projection(face_size, size)

    def forward(self, voices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
        normalize = nn.functional.normalize
        return normalize(self.voice(voices), dim=1), normalize(self.face(faces), dim=1)


def info_nce(queries: Tensor, keys: Tensor, same_person: Tensor, same_group: Tensor, temperature: float) -> Tensor:
    """The loss of queries (B, E) whose own keys are the first B of (K, E).

    Args:
        same_person: (B, K) true where a key is of the query's own person: no negative.
        same_group: (B, K) true where it is of the query's presentation: only those are negatives.
    """
    scores = queries @ keys.T / temperature
    own = torch.arange(len(queries), device=queries.device)
    allowed = same_group & ~same_person
    allowed[own, own] = True
    return nn.functional.cross_entropy(scores.masked_fill(~allowed, float("-inf")), own)


def train(pairs: dict[str, np.ndarray], settings: ConReSettings, seed: int = 0) -> tuple[ConRe, list[float]]:
    """Trains ConRe; gives the model and the loss of every step."""
    random = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    voices, latents = (torch.from_numpy(pairs[name]).float() for name in ("voices", "latents"))
    masculine, person = torch.from_numpy(pairs["masculine"]) > 0.5, torch.from_numpy(pairs["person"]).long()
    model = ConRe(voices.shape[1], latents.shape[1], settings.size)
    slow = ConRe(voices.shape[1], latents.shape[1], settings.size)
    slow.load_state_dict(model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate)
    bank_keys = torch.zeros(0, 2, settings.size)  # of voices and of faces
    bank_rows = torch.zeros(0, dtype=torch.long)
    losses = []
    for _ in range(settings.steps):
        rows = torch.randint(len(voices), (min(settings.batch, len(voices)),), generator=random)
        voice, face = model(voices[rows], latents[rows])
        with torch.no_grad():
            slow_voice, slow_face = slow(voices[rows], latents[rows])
        keys = torch.cat([torch.stack([slow_voice, slow_face], 1), bank_keys])
        of = torch.cat([rows, bank_rows])
        same_person = person[rows][:, None] == person[of][None]
        same_group = masculine[rows][:, None] == masculine[of][None]
        loss = info_nce(voice, keys[:, 1], same_person, same_group, settings.temperature)
        loss = loss + info_nce(face, keys[:, 0], same_person, same_group, settings.temperature)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for kept, new in zip(slow.parameters(), model.parameters(), strict=True):
                kept.lerp_(new, 1 - settings.momentum)
        bank_keys, bank_rows = keys[: settings.bank].detach(), of[: settings.bank]
        losses.append(float(loss))
    return model, losses


def _projection(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 2 * outputs), nn.SiLU(), nn.Linear(2 * outputs, outputs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=ConReSettings.steps)
    parser.add_argument("--batch", type=int, default=ConReSettings.batch)
    options = parser.parse_args()
    settings = ConReSettings(steps=options.steps, batch=options.batch)
    model, losses = train(dict(np.load(options.pairs)), settings)
    options.out.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), options.out / "conre.safetensors")
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}")


if __name__ == "__main__":
    main()
