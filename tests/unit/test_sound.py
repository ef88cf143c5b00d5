"""Sound goes in as promised: any format, rate and number of channels, whole or in blocks; what cannot work says so."""

from __future__ import annotations

import io
import tracemalloc
import wave
from types import SimpleNamespace

import av
import numpy as np
import pytest

from superface_hf import MediaError
from superface_hf.media import Sound, SoundReader, VideoReader, load_sound, mono_blocks, write_mp4

FRAME = np.zeros((32, 32, 3), np.uint8)


def tone(seconds: float = 1.0, rate: int = 16000, frequency: float = 440.0) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encoded(samples: np.ndarray, rate: int, kind: str = "flac", layout: str = "mono") -> bytes:
    """(N,) or (N, channels) floats as a file; ``kind`` is both container and codec."""
    codec, container, fmt = {
        "flac": ("flac", "flac", "s16"),
        "wav": ("pcm_f32le", "wav", "flt"),
        "mp3": ("libmp3lame", "mp3", "fltp"),
        "ogg": ("libopus", "ogg", "flt"),
    }[kind]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        stream.format = fmt
        values = samples if fmt.startswith("flt") else np.round(samples * 32767).astype(np.int16)
        planes = values.reshape(len(values), -1)
        planes = planes.T if fmt.endswith("p") else planes.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(planes), format=fmt, layout=layout)
        frame.sample_rate = rate
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def pitch(samples: np.ndarray, rate: int) -> float:
    """The strongest frequency."""
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


class TestSources:
    def test_every_kind_of_input_is_the_same_sound(self, tmp_path):
        samples = tone()
        data = encoded(samples, 16000)
        (tmp_path / "speech one.flac").write_bytes(data)
        decoder = SimpleNamespace(get_all_samples=lambda: SimpleNamespace(data=samples[None], sample_rate=16000))
        sources = [
            tmp_path / "speech one.flac",
            str(tmp_path / "speech one.flac"),
            data,
            io.BytesIO(data),
            (samples, 16000),
            (16000, samples),
            {"array": samples, "sampling_rate": 16000},
            {"audio": samples[None], "sampling_rate": 16000},
            {"bytes": data, "path": None},
            Sound(samples, 16000),
            decoder,
        ]
        for source in sources:
            sound = load_sound(source)
            assert sound.rate == 16000
            assert np.abs(sound.samples - samples).max() < 1e-4
        for array in (samples, samples.astype(np.float64), samples.tolist()):
            assert np.abs(load_sound(array, 16000).samples - samples).max() < 1e-6

    @pytest.mark.parametrize(
        ("convert", "tolerance"),
        [
            (lambda x: np.round(x * 32767).astype(np.int16), 1e-4),
            (lambda x: np.round(x * (2.0**31 - 1)).astype(np.int32), 1e-6),
            (lambda x: np.round(x * 127 + 128).astype(np.uint8), 0.01),
            (lambda x: np.round(x * 127).astype(np.int8), 0.01),
        ],
        ids=["int16", "int32", "uint8", "int8"],
    )
    def test_integers_keep_their_loudness(self, convert, tolerance):
        assert np.abs(load_sound(convert(tone()), 16000).samples - tone()).max() < tolerance

    def test_tensors_are_sounds_too(self):
        torch = pytest.importorskip("torch")
        samples = torch.from_numpy(tone())
        decoder = SimpleNamespace(get_all_samples=lambda: SimpleNamespace(data=samples[None], sample_rate=16000))
        for given, tolerance in ((samples, 1e-6), (samples.to(torch.bfloat16), 0.01), (decoder, 1e-6)):
            rate = None if given is decoder else 16000
            assert np.abs(load_sound(given, rate).samples - tone()).max() < tolerance

    @pytest.mark.parametrize("kind", ["wav", "mp3", "ogg", "flac"])
    def test_common_files_are_read(self, kind):
        sound = load_sound(encoded(tone(1.0, 48000), 48000, kind))
        assert sound.seconds == pytest.approx(1.0, abs=0.06)
        assert pitch(sound.samples, sound.rate) == pytest.approx(440, abs=3)

    def test_an_eight_bit_wav_is_read(self):
        file = io.BytesIO()
        with wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(1)
            out.setframerate(8000)
            out.writeframes(np.round(tone(0.5, 8000) * 127 + 128).astype(np.uint8).tobytes())
        assert np.abs(load_sound(file.getvalue()).samples - tone(0.5, 8000)).max() < 0.02

    def test_channels_are_found_whichever_way_the_array_lies(self):
        both = np.stack([tone(), np.zeros(16000, np.float32)])
        for array in (both, both.T):
            sound = load_sound(array, 16000)
            assert sound.samples.shape == (16000, 2)
            assert np.abs(sound.mono() - tone() / 2).max() < 1e-6

    def test_surround_sound_is_mixed_down(self):
        six = np.repeat(tone(0.5, 48000)[:, None], 6, axis=1) / 4
        sound = load_sound(encoded(six, 48000, "wav", "5.1"))
        assert sound.samples.shape[1] == 2
        assert np.abs(sound.mono()).max() > 0.05
        assert load_sound(six, 48000).samples.shape == (24000,)

    def test_the_sound_of_a_video_will_do(self, tmp_path):
        write_mp4(tmp_path / "clip.mp4", [FRAME] * 25, 25, tone(), 16000)
        sound = load_sound(tmp_path / "clip.mp4")
        assert pitch(sound.mono(), 16000) == pytest.approx(440, abs=3)
        assert len(VideoReader(tmp_path / "clip.mp4").sound().samples) == len(sound.samples)

    def test_peaks_above_full_scale_are_cut_off(self):
        loud = load_sound(3 * tone(), 16000).samples
        assert np.abs(loud).max() == 1
        assert np.abs(loud - np.clip(3 * tone(), -1, 1)).max() < 1e-6

    def test_silence_is_a_sound(self):
        assert load_sound(np.zeros(16000), 16000).silent
        assert not load_sound(tone() / 100, 16000).silent


class TestUnusable:
    @pytest.mark.parametrize(
        ("source", "rate", "says"),
        [
            ("no_such_file.wav", None, "no file"),
            (b"", None, "empty"),
            (b"this is text, not a sound" * 20, None, "not a sound"),
            (np.zeros(0), 16000, "empty"),
            (np.zeros((0, 2)), 16000, "empty"),
            (np.zeros(3), 16000, "3 samples"),
            (np.full(16000, np.nan), 16000, "NaN"),
            (np.full(16000, np.inf), 16000, "NaN or infinite"),
            (np.zeros(16000), None, "sampling_rate="),
            (np.zeros(16000), 0, "sampling rate"),
            (np.zeros(16000), "16k", "sampling rate"),
            (np.full(16000, 12345.0), 16000, "32768"),
            (np.full(16000, "x"), 16000, "floats"),
            (np.zeros((40, 40, 40)), 16000, "shape"),
            (np.zeros((300, 200)), 16000, "shape"),
            ({"array": np.zeros(16000)}, None, "sampling_rate="),
            ({"samples": np.zeros(16000)}, 16000, "array"),
            (12, None, "cannot be read"),
            ((x for x in [np.zeros(9)]), 16000, "stream()"),
        ],
    )
    def test_one_clear_error(self, source, rate, says):
        with pytest.raises(MediaError) as raised:
            load_sound(source, rate)
        assert says in str(raised.value)

    def test_a_video_without_sound_is_none(self, tmp_path):
        write_mp4(tmp_path / "clip.mp4", [FRAME] * 2, 25)
        with pytest.raises(MediaError, match="no sound track"):
            load_sound(tmp_path / "clip.mp4")

    def test_nan_inside_a_file_is_found(self):
        samples = tone(3.0)
        samples[40000] = np.nan
        with pytest.raises(MediaError, match="NaN"):
            load_sound(encoded(samples, 16000, "wav"))

    def test_a_file_of_three_samples_is_too_short(self):
        with pytest.raises(MediaError, match="3 samples"):
            load_sound(encoded(tone()[:3], 16000, "wav"))

    def test_a_cut_off_file_gives_what_it_has(self):
        data = encoded(np.random.default_rng(0).uniform(-0.5, 0.5, 48000).astype(np.float32), 16000)
        assert 0.5 < load_sound(data[: len(data) // 2]).seconds < 2.5


class TestRates:
    @pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
    def test_any_rate_becomes_16_kHz_with_pitch_length_and_place(self, rate):
        samples = tone(1.0, rate)
        samples[: rate // 2] = 0
        mono = Sound(samples, rate).mono()
        assert len(mono) == 16000
        assert pitch(mono[8000:], 16000) == pytest.approx(440, abs=3)
        assert np.abs(mono[:7900]).max() < 0.02
        assert np.abs(mono[8000:8100]).max() > 0.3

    def test_pieces_of_any_size_give_the_same_samples(self):
        samples = np.random.default_rng(0).uniform(-0.5, 0.5, 44100).astype(np.float32)
        whole = Sound(samples, 44100).mono()
        for size in (7, 441, 10_000):
            pieces = [samples[start : start + size] for start in range(0, len(samples), size)]
            again = np.concatenate(list(mono_blocks(pieces, 44100)))
            assert np.abs(again - whole).max() < 1e-6

    def test_pieces_may_be_integers_and_empty(self):
        pieces = [np.zeros(0, np.int16), np.round(tone() * 32767).astype(np.int16), np.zeros(0, np.int16)]
        assert np.abs(np.concatenate(list(mono_blocks(pieces, 16000))) - tone()).max() < 1e-4

    def test_no_pieces_are_no_samples(self):
        assert list(mono_blocks([], 48000)) == []

    def test_fitting_cuts_or_adds_silence(self):
        sound = Sound(np.stack([tone(), tone()], axis=1), 16000)
        assert sound.fit(0.5).samples.shape == (8000, 2)
        longer = sound.fit(1.5).samples
        assert longer.shape == (24000, 2)
        assert not longer[16000:].any()


class TestReading:
    def test_blocks_joined_are_the_sound_and_may_be_read_twice_at_once(self):
        samples = tone(3.3)
        for source in (encoded(samples, 16000), (samples, 16000)):
            reader = SoundReader(source)
            assert reader.seconds == pytest.approx(3.3, abs=0.01)
            both = list(zip(reader, reader, strict=True))
            assert len(both) > 2
            for side in range(2):
                assert np.abs(np.concatenate([pair[side] for pair in both]) - samples).max() < 1e-4

    def test_a_long_file_is_never_held_in_memory(self, tmp_path):
        """Five minutes: 19 MB as floats, read in a tenth of that."""
        with wave.open(str(tmp_path / "long.wav"), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(16000)
            minute = np.round(tone(60.0) * 32767).astype(np.int16).tobytes()
            for _ in range(5):
                out.writeframes(minute)
        reader = SoundReader(tmp_path / "long.wav")
        tracemalloc.start()
        total = sum(len(block) for block in reader.mono())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total == 5 * 60 * 16000
        assert peak < 2_000_000

    def test_a_video_is_written_from_blocks_of_sound(self, tmp_path):
        reader = SoundReader((tone(3.0), 16000))
        write_mp4(tmp_path / "clip.mp4", [FRAME] * 50, 25, reader, reader.rate)
        sound = load_sound(tmp_path / "clip.mp4")
        assert sound.seconds == pytest.approx(2.0, abs=0.15)
        assert pitch(sound.samples, 16000) == pytest.approx(440, abs=3)
