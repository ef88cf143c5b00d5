"""CodebookRestorer: restores faces with detail from a learned codebook, and as much of the input's own as one wants."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers import VQModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import Encoder
from torch import Tensor, nn

from ...errors import SuperFaceError
from ..diffusers_model import DiffusersModel
from ..face_space.texture import blur
from .code_transformer import CodeTransformer
from .feature_skip import FeatureSkip
from .fidelity import check_fidelity

# The weight of nearness starts as one of these; its logarithm is learned over GAIN, so that it can change in a short training.
NEARNESSES = [2.0**power for power in range(-16, 4)]
GAIN = 10.0


class Seen(NamedTuple):
    """What is seen in a degraded picture.

    Attributes:
        features: (B, D, h, w), to be compared with the codebook's entries.
        levels: the encoder's features (B, C, ...), the finest first.
    """

    features: Tensor
    levels: list[Tensor]


class CodebookRestorer(DiffusersModel):
    """Restores pictures of faces: an encoder for degraded pictures, a transformer that predicts the clean picture's codes, and
    a decoder with a skip of features.

    The idea is CodeFormer's (Zhou et al. 2022, arXiv 2206.11253). Differences: pictures enter as cells of ``patch`` x ``patch``
    pixels, which saves most of the time; the transformer starts from the nearest codes and corrects them, which saves
    training; it sees windows, so pictures may have any size; and of what the codebook draws only detail is shown: colours that
    are coarser stay the input's.

    Args:
        block_out_channels: channels of the autoencoder, the finest level first; each further level halves the resolution.
        layers_per_block: residual blocks of a level of the encoder; the decoder has one more.
        norm_num_groups: groups of its norms.
        latent_channels: channels around the codebook.
        num_codes, code_size: entries of the codebook, and their size.
        patch: side of the cells that pictures enter and leave as, in pixels.
        colour_blur: standard deviation of the blur that separates colours from detail, in pixels.
        hidden_size, num_layers, num_heads, window: of the :class:`CodeTransformer`.
    """

    @register_to_config
    def __init__(
        self,
        block_out_channels: tuple[int, ...] = (32, 64, 80),
        layers_per_block: int = 1,
        norm_num_groups: int = 8,
        latent_channels: int = 64,
        num_codes: int = 512,
        code_size: int = 32,
        patch: int = 2,
        colour_blur: float = 8.0,
        hidden_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        window: int = 32,
    ) -> None:
        super().__init__()
        channels = tuple(block_out_channels)
        cell = 3 * patch**2
        down = ("DownEncoderBlock2D",) * len(channels)
        #: The autoencoder of clean pictures.
        self.vq = VQModel(
            in_channels=cell,
            out_channels=cell,
            down_block_types=down,
            up_block_types=("UpDecoderBlock2D",) * len(channels),
            block_out_channels=channels,
            layers_per_block=layers_per_block,
            latent_channels=latent_channels,
            num_vq_embeddings=num_codes,
            norm_num_groups=norm_num_groups,
            vq_embed_dim=code_size,
            mid_block_add_attention=False,
        )
        self.encoder = Encoder(
            in_channels=cell,
            out_channels=latent_channels,
            down_block_types=down,
            block_out_channels=channels,
            layers_per_block=layers_per_block,
            norm_num_groups=norm_num_groups,
            double_z=False,
            mid_block_add_attention=False,
        )
        self.to_codes = nn.Conv2d(latent_channels, code_size, 1)
        self.log_nearness = nn.Parameter(torch.tensor(0.0))  # over GAIN
        self.transformer = CodeTransformer(num_codes, code_size, hidden_size, num_layers, num_heads, window)
        self.skips = nn.ModuleList(FeatureSkip(width) for width in channels)

    @property
    def step(self) -> int:
        """Pixels along the side of a token."""
        return self.config.patch * 2 ** (len(self.config.block_out_channels) - 1)

    @torch.inference_mode()
    def restore(self, pictures: Tensor, fidelity: float = 0.5) -> Tensor:
        """Restore pictures.

        Args:
            pictures: (B, 3, H, W) in [0, 1], of any size, on the model's device.
            fidelity: 0 (detail of the codebook alone) to 1 (closest to the input).

        Returns:
            The same shape and type, in [0, 1].

        Raises:
            SuperFaceError: ``fidelity`` is out of its range, or ``pictures`` have another shape.
        """
        check_fidelity(fidelity)
        if pictures.ndim != 4 or pictures.shape[1] != 3:
            raise SuperFaceError(f"Pictures to restore must have the shape (B, 3, H, W), not {tuple(pictures.shape)}.")
        height, width = pictures.shape[-2:]
        padded = F.pad(pictures, (0, -width % self.step, 0, -height % self.step), mode="replicate")
        padded = padded.to(self.dtype)
        seen = self.see(padded)
        codes = self.logits(seen.features).argmax(1)
        restored = self.decode(self.entries(codes), padded, seen.levels, float(fidelity))
        return restored[..., :height, :width].clamp(0, 1).to(pictures)

    def clean_features(self, pictures: Tensor) -> Tensor:
        """Return the features (B, D, h, w) of clean pictures (B, 3, H, W), before quantisation; sides are multiples of
        ``step``."""
        return self.vq.quant_conv(self.vq.encoder(self._cells(pictures)))

    def see(self, pictures: Tensor) -> Seen:
        """Return what is seen in degraded pictures (B, 3, H, W), whose sides are multiples of ``step``."""
        encoder, levels = self.encoder, []
        x = encoder.conv_in(self._cells(pictures))
        for block in encoder.down_blocks:
            for layer in block.resnets:
                x = layer(x, None)
            levels.append(x)
            for layer in block.downsamplers or ():
                x = layer(x)
        x = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(encoder.mid_block(x))))
        return Seen(self.to_codes(x), levels)

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits of codes (B, K, h, w) for the features of a degraded picture: nearness to each entry, corrected
        by the transformer."""
        return self.nearest(features) + self.transformer.whole(features)

    def nearest(self, features: Tensor) -> Tensor:
        """Return the logits of codes (B, K, h, w) by their entries' nearness to features alone."""
        return -(GAIN * self.log_nearness).exp() * self.distances(features)

    def distances(self, features: Tensor) -> Tensor:
        """Return the squared distances (B, K, h, w) of features (B, D, h, w) from the codebook's entries."""
        entries = self.vq.quantize.embedding.weight
        products = torch.einsum("bdhw,kd->bkhw", features, entries)
        return features.square().sum(1, keepdim=True) - 2 * products + entries.square().sum(1)[:, None, None]

    def entries(self, codes: Tensor) -> Tensor:
        """Return the codebook's entries (B, D, h, w) of codes (B, h, w)."""
        return self.vq.quantize.embedding(codes).permute(0, 3, 1, 2)

    def decode(
        self, entries: Tensor, colours: Tensor, levels: list[Tensor] | None = None, fidelity: float = 0.0
    ) -> Tensor:
        """Return pictures (B, 3, H, W), about in [0, 1], with the coarse colours of pictures ``colours`` (B, 3, H, W); the
        other arguments are those of :meth:`draw`."""
        return self.coloured(self.draw(entries, levels, fidelity), colours)

    def draw(self, entries: Tensor, levels: list[Tensor] | None = None, fidelity: float = 0.0) -> Tensor:
        """Return pictures (B, 3, H, W), about in [0, 1].

        Args:
            entries: (B, D, h, w).
            levels: the features of the degraded picture, see :class:`Seen`; without them, or with ``fidelity`` 0, the picture
                is the codebook's alone.
            fidelity: how much of the features is used.
        """
        decoder = self.vq.decoder
        x = decoder.mid_block(decoder.conv_in(self.vq.post_quant_conv(entries)))
        for number, block in enumerate(decoder.up_blocks):
            for layer in block.resnets:
                x = layer(x, None)
            if levels is not None and fidelity:
                level = len(levels) - 1 - number
                x = self.skips[level](x, levels[level], fidelity)
            for layer in block.upsamplers or ():
                x = layer(x)
        x = decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(x)))
        return F.pixel_shuffle(x, self.config.patch) / 2 + 0.5

    def coloured(self, drawn: Tensor, colours: Tensor) -> Tensor:
        """Return drawn pictures (B, 3, H, W) with the coarse colours of others, whose size is the same."""
        return drawn + blur((colours - drawn).contiguous(), self.config.colour_blur)

    @torch.no_grad()
    def start_encoder(self, clean: Tensor, degraded: Tensor) -> None:
        """Let the encoder of degraded pictures start as that of clean ones, and nearness count as much as predicts
        codes best.

        Args:
            clean, degraded: the same pictures, (B, 3, H, W).
        """
        self.encoder.load_state_dict(self.vq.encoder.state_dict())
        self.to_codes.load_state_dict(self.vq.quant_conv.state_dict())
        codes = self.distances(self.clean_features(clean)).argmin(1)
        distances = self.distances(self.see(degraded).features)
        found = {weight: float(F.cross_entropy(-weight * distances, codes)) for weight in NEARNESSES}
        self.log_nearness.fill_(math.log(min(found, key=lambda weight: found[weight])) / GAIN)

    def _cells(self, pictures: Tensor) -> Tensor:
        cells = F.pixel_unshuffle(pictures * 2 - 1, self.config.patch)
        return cells.contiguous(memory_format=torch.channels_last)
