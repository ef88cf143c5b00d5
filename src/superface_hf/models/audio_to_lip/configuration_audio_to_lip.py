"""Configuration of audio-to-lip."""

from __future__ import annotations

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict

from ..configuration import LONGEST_LIST, Bounds, check_number
from ..log_mel import LogMelConfig

MAX_LOOK_AHEAD = 200.0  # ms: beyond this a conversation feels delayed
MOST_FRAMES = 4096  # that are held of the past
# Of the numbers in an audio encoder's configuration, and of those that say how many layers it has.
LARGEST_NUMBER, MOST_LAYERS = 2**16, 128


@strict
class SuperFaceAudioToLipConfig(LogMelConfig):
    """What the network hears, how far it hears back and ahead, and its size.

    Args:
        sampling_rate, num_mel_bins, hop_length, window_length, min_frequency, max_frequency, mouth_size, dropout: see
            :class:`.log_mel.LogMelConfig`.
        frame_rate: mouth frames a second inside the network; it must take a whole number of hops for each.
        look_ahead_frames: a mouth frame is decided this many inner frames later, so that it hears what comes: lips begin to
            close well before the sound of a p. ``look_ahead`` is what this amounts to in ms, at most 200.
        hidden_size: width of the network.
        kernel_size: taps of each convolution in time.
        dilations: one residual block each, with its taps this many inner frames apart; they make up how far the network
            hears back (``receptive_field``).
        audio_encoder: id or folder of a transformers speech model that hears raw waveforms (wav2vec2, HuBERT, WavLM, ...)
            to use instead of the log-mel spectrum. It cannot be streamed.
        audio_encoder_config: that model's own configuration. Leave it out to have its weights loaded from
            ``audio_encoder``; it is filled in when the model is built, and a saved checkpoint then brings the encoder along.
        freeze_audio_encoder: leave that encoder as it is when training.
    """

    model_type = "superface_audio_to_lip"
    bounds: ClassVar[Bounds] = {**LogMelConfig.bounds, "look_ahead_frames": (0, 200), "kernel_size": (1, 64)}

    look_ahead_frames: int = 7
    hidden_size: int = 192
    kernel_size: int = 3
    dilations: tuple[int, ...] | list[int] = (1, 2, 4, 8, 16, 1, 2, 4)
    audio_encoder: str | None = None
    audio_encoder_config: dict[str, Any] | None = None
    freeze_audio_encoder: bool = True

    @property
    def samples_per_frame(self) -> int:
        """Samples to one inner mouth frame."""
        return self.hop_length * self.hops_per_frame

    @property
    def look_ahead(self) -> float:
        """Milliseconds of sound after a frame's time that it depends on, at most.

        Made up of ``look_ahead_frames``, the last hop of an inner frame, half of the analysis window, and up to one inner
        frame for the interpolation to a frame rate that does not divide ``frame_rate``.
        """
        frames = (self.look_ahead_frames + 1) * self.samples_per_frame
        return 1000 * (frames + self.samples_per_frame - self.hop_length + self.window_length / 2) / self.sampling_rate

    @property
    def receptive_field(self) -> int:
        """Inner frames that one mouth frame depends on, the ``look_ahead_frames`` among them."""
        return 1 + (self.kernel_size - 1) * (1 + sum(self.dilations))

    def validate_architecture(self) -> None:
        """Refuses combinations that cannot work."""
        super().validate_architecture()
        if self.receptive_field > MOST_FRAMES:
            raise ValueError(f"dilations hear back {self.receptive_field} frames; at most {MOST_FRAMES} can be held")
        if self.look_ahead > MAX_LOOK_AHEAD:
            raise ValueError(
                f"look_ahead_frames={self.look_ahead_frames} is a look-ahead of {self.look_ahead:g} ms; it must be from 0 to "
                f"{MAX_LOOK_AHEAD:g} ms, window and interpolation included"
            )
        if self.audio_encoder is None and self.audio_encoder_config is not None:
            raise ValueError("audio_encoder_config says what audio_encoder is: name the audio_encoder too")
        _check_nested("audio_encoder_config", self.audio_encoder_config)


def _check_nested(name: str, value: Any, depth: int = 0) -> None:
    """
    Raises:
        ValueError: a number in ``value``, or how much it holds, is beyond what any speech encoder needs.
    """
    if isinstance(value, (dict, list, tuple)):
        if depth > 4 or len(value) > 8 * LONGEST_LIST:
            raise ValueError(f"{name} holds too much")
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in entries:
            _check_nested(f"{name}.{key}", entry, depth + 1)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        most = MOST_LAYERS if "layers" in name.rsplit(".", 1)[-1] else LARGEST_NUMBER
        check_number(name, value, -most, most)
