"""Averages the weights of several runs, and sets how far the mouth opens.

::

    python -m superface_hf.training.audio_to_lip.soup --out runs/lip-soup --reach 1.07 runs/lip-a/final runs/lip-b/final

Runs that start from the same weights and see windows in another order end near each other, and their average follows speech
better than each of them (Wortsman et al., 2022, "Model soups").
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from ...data.speech.visemes import closed_mouth
from ...errors import SuperFaceError
from ...models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel


@torch.no_grad()
def soup(models: Sequence[SuperFaceAudioToLipModel], reach: float = 1.0) -> SuperFaceAudioToLipModel:
    """Average the weights of models into the first of them.

    Args:
        models: of one configuration, best from one start.
        reach: the factor by which the mouth goes farther from the closed mouth; that one stays as it is.

    Raises:
        SuperFaceError: there is no model, or their weights have other names or shapes.
    """
    if not models:
        raise SuperFaceError("There is no model to average: give at least one.")
    states = [{name: value.float() for name, value in model.state_dict().items()} for model in models]
    shapes = [{name: value.shape for name, value in state.items()} for state in states]
    if any(other != shapes[0] for other in shapes):
        raise SuperFaceError("The models differ in size: only runs of one configuration can be averaged.")
    result = models[0].float()
    result.load_state_dict({name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]})
    head, closed = result.network.head, torch.from_numpy(closed_mouth()).float()
    head.weight.mul_(reach)
    head.bias.copy_(closed + reach * (head.bias - closed))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, help="folders of weights")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reach", type=float, default=1.0, help="factor by which the mouth goes farther from closed")
    options = parser.parse_args()
    models = [SuperFaceAudioToLipModel.from_pretrained(path).eval() for path in options.models]
    soup(models, options.reach).half().save_pretrained(options.out)


if __name__ == "__main__":
    main()
