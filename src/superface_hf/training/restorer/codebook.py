"""The codebook's own training: entries follow the mean of the features that chose them, and unused ones start anew."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn

DECAY = 0.98  # of the running means
UNUSED = 0.05  # an entry chosen less than this share of the mean is unused


class CodebookMeans:
    """Running means of the features that chose each entry (van den Oord et al. 2017, appendix A.1).

    Args:
        accelerator: shares the means with other processes, and saves them in checkpoints.
        embedding: the codebook (K, D).
    """

    def __init__(self, accelerator: Accelerator, embedding: nn.Embedding) -> None:
        self.accelerator, self.embedding = accelerator, embedding
        embedding.weight.requires_grad_(False)
        self.chosen = torch.zeros(embedding.num_embeddings, device=accelerator.device)
        self.sums = torch.zeros_like(embedding.weight, device=accelerator.device)
        accelerator.register_for_checkpointing(self)

    @torch.no_grad()
    def follow(self, features: Tensor, codes: Tensor, restart: bool) -> None:
        """Move the entries after a batch.

        Args:
            features: (B, D, h, w) of clean pictures.
            codes: (B, h, w) that they chose.
            restart: whether unused entries become random features of the batch.
        """
        flat = features.float().permute(0, 2, 3, 1).flatten(0, 2)
        chose = F.one_hot(codes.flatten(), len(self.chosen)).to(flat)
        together = torch.cat([chose.sum(0)[:, None], chose.T @ flat], 1)
        if self.accelerator.num_processes > 1:
            together = self.accelerator.reduce(together, "sum")
        self.chosen.lerp_(together[:, 0], 1 - DECAY)
        self.sums.lerp_(together[:, 1:], 1 - DECAY)
        if restart:
            drawn = flat[torch.randint(len(flat), (len(self.chosen),), device=flat.device)]
            if self.accelerator.num_processes > 1:
                drawn = broadcast(drawn.contiguous())
            usual = float(self.chosen.mean())
            unused = self.chosen <= UNUSED * usual
            self.chosen[unused] = usual
            self.sums[unused] = drawn[unused] * usual
        self.embedding.weight.copy_(self.sums / self.chosen.clamp_min(1e-6)[:, None])

    def state_dict(self) -> dict[str, Tensor]:
        return {"chosen": self.chosen, "sums": self.sums}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.chosen.copy_(state["chosen"])
        self.sums.copy_(state["sums"])


def perplexity(codes: Tensor, count: int) -> float:
    """Return the exponential of the entropy of codes: of how many of ``count`` entries, chosen alike, they could be."""
    shares = torch.bincount(codes.flatten(), minlength=count).float() / codes.numel()
    return float(torch.exp(-(shares * shares.clamp_min(1e-9).log()).sum()))
