"""Configuration of audio-to-lip."""

from __future__ import annotations

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict

from ..configuration import MAX_LIST, Bounds, check_number
from ..log_mel import LogMelConfig

MAX_LOOK_AHEAD = 200.0  # ms: beyond this a conversation feels delayed
MAX_FRAMES = 4096  # frames of the receptive field
# The largest number in an audio encoder's configuration, and the most layers.
MAX_NUMBER, MAX_LAYERS = 2**16, 128


@strict
class SuperFaceAudioToLipConfig(LogMelConfig):
    """The configuration of audio-to-lip: its features, how much past and future sound it uses, and its size.

    Args:
        sampling_rate, num_mel_bins, hop_length, window_length, min_frequency, max_frequency, mouth_size, dropout: see
            :class:`.log_mel.LogMelConfig`.
        frame_rate: mouth frames a second inside the network; it must take a whole number of hops for each.
        look_ahead_frames: a mouth frame is predicted this many inner frames later, so that it depends on the following sound:
            lips begin to close well before the sound of a p. ``look_ahead`` is the resulting delay in ms, at most 200.
        hidden_size: width of the network.
        kernel_size: taps of each convolution in time.
        dilations: one residual block each, with its taps this many inner frames apart; together they give the
            ``receptive_field``.
        audio_encoder: id or folder of a transformers speech model that takes raw waveforms (wav2vec2, HuBERT, WavLM, ...)
            to use instead of the log-mel spectrum. It cannot be streamed.
        audio_encoder_config: that model's own configuration. Without it the weights are loaded from ``audio_encoder``; it
            is set when the model is built, and a saved checkpoint then contains the encoder.
        freeze_audio_encoder: whether training leaves that encoder unchanged.
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
        """Samples per inner mouth frame."""
        return self.hop_length * self.hops_per_frame

    @property
    def look_ahead(self) -> float:
        """The most milliseconds of sound after a frame's time on which it depends.

        It is the sum of ``look_ahead_frames``, the last hop of an inner frame, half of the analysis window, and up to one inner
        frame for the interpolation to a frame rate that does not divide ``frame_rate``.
        """
        frames = (self.look_ahead_frames + 1) * self.samples_per_frame
        return 1000 * (frames + self.samples_per_frame - self.hop_length + self.window_length / 2) / self.sampling_rate

    @property
    def receptive_field(self) -> int:
        """Inner frames on which one mouth frame depends, including the ``look_ahead_frames``."""
        return 1 + (self.kernel_size - 1) * (1 + sum(self.dilations))

    def validate_architecture(self) -> None:
        """Refuse combinations that cannot work."""
        super().validate_architecture()
        if self.receptive_field > MAX_FRAMES:
            raise ValueError(f"dilations hear back {self.receptive_field} frames; at most {MAX_FRAMES} can be held")
        if self.look_ahead > MAX_LOOK_AHEAD:
            raise ValueError(
                f"look_ahead_frames={self.look_ahead_frames} is a look-ahead of {self.look_ahead:g} ms; it must be from 0 to "
                f"{MAX_LOOK_AHEAD:g} ms, window and interpolation included"
            )
        if self.audio_encoder is None and self.audio_encoder_config is not None:
            raise ValueError("audio_encoder_config says what audio_encoder is: name the audio_encoder too")
        _check_nested("audio_encoder_config", self.audio_encoder_config)


def _check_nested(name: str, value: Any, depth: int = 0) -> None:
    """Check that the numbers in ``value`` and its size are plausible for a speech encoder.

    Raises:
        ValueError: a number in ``value`` is larger, or ``value`` holds more, than any speech encoder needs.
    """
    if isinstance(value, (dict, list, tuple)):
        if depth > 4 or len(value) > 8 * MAX_LIST:
            raise ValueError(f"{name} holds too much")
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in entries:
            _check_nested(f"{name}.{key}", entry, depth + 1)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        most = MAX_LAYERS if "layers" in name.rsplit(".", 1)[-1] else MAX_NUMBER
        check_number(name, value, -most, most)
