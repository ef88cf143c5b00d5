"""Speech with exact phoneme times from the espeak-ng library (Debian: ``libespeak-ng1``), through ctypes.

For training and benchmarks only; nothing of the package needs it.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import lru_cache

import numpy as np

from ...media import Sound
from .visemes import Phoneme

SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples come through the callback before synthesis returns
PHONEME_EVENTS, AS_IPA = 1, 2  # espeakINITIALIZE_*
UTF8 = 1  # espeakCHARS_UTF8
PHONEME, LIST_END = 7, 0  # espeakEVENT_*
RATE, PITCH, RANGE = 1, 3, 4  # espeak_PARAMETER: words a minute, 0..100, 0..100
# A voiceless stop, and a voiced one this short (seconds), is marked at its burst; the closure came before, for this long.
SHORT_STOP, CLOSURE = 0.045, 0.045
VOICELESS_STOPS, STOPS = ("p", "t", "k", "c", "q"), ("p", "t", "k", "c", "q", "b", "d", "g", "ɡ", "ɟ")
BURST = 0.008  # seconds after which the lips have parted
MIN_CLOSURE = 0.02


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """The library, set up once in a process: see :func:`espeak`."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng")
        if name is None:
            raise RuntimeError(
                "espeak-ng is needed to make synthetic speech: install it (Debian: apt install espeak-ng)."
            )
        self._library = ctypes.CDLL(name)
        self.rate = self._library.espeak_Initialize(SYNCHRONOUS, 0, None, PHONEME_EVENTS | AS_IPA)
        self._pieces: list[bytes] = []
        self._events: list[tuple[int, str]] = []
        self._callback = _Callback(self._take)  # kept: the library calls it as long as it lives
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: str, speed: int, pitch: int, pitch_range: int) -> tuple[Sound, list[Phoneme]]:
        """Speak ``text``.

        Args:
            voice: a language, or one with a variant: "en-us", "de+f2".
            speed: words a minute (80 to 450).
            pitch, pitch_range: 0 to 100.

        Raises:
            ValueError: the voice does not exist.
        """
        library = self._library
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}.")
        for parameter, value in ((RATE, speed), (PITCH, pitch), (RANGE, pitch_range)):
            library.espeak_SetParameter(parameter, value, 0)
        self._pieces.clear()
        self._events.clear()
        data = text.encode()
        library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, 0, 0, UTF8, None, None)
        library.espeak_Synchronize()
        samples = np.frombuffer(b"".join(self._pieces), np.int16).astype(np.float32) / 32768
        return Sound(samples, self.rate), self._phonemes(len(samples))

    def _take(self, wave: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if wave and count > 0:
            self._pieces.append(ctypes.string_at(wave, 2 * count))
        index = 0
        while events[index].type != LIST_END:
            if events[index].type == PHONEME:
                self._events.append((events[index].sample, events[index].id.string.decode("utf-8", "ignore")))
            index += 1
        return 0

    def _phonemes(self, samples: int) -> list[Phoneme]:
        starts = np.array([sample for sample, _ in self._events] + [samples]) / self.rate
        spans = [
            [symbol, start, end]
            for (_, symbol), start, end in zip(self._events, starts[:-1], starts[1:], strict=True)
            if end > start
        ]
        phonemes: list[Phoneme] = []
        for symbol, start, end in spans:
            release = None
            if symbol.startswith(STOPS):
                release = start + BURST
                if symbol.startswith(VOICELESS_STOPS) or end - start < SHORT_STOP:
                    start = start - CLOSURE
                else:
                    release = max(end - 2 * BURST, start + MIN_CLOSURE)
                start = max(start, 0.0)
                if phonemes:  # the closure was counted to what came before
                    last = phonemes.pop()
                    start = max(start, last.start + 0.3 * (last.end - last.start))
                    phonemes.append(
                        Phoneme(last.symbol, last.start, min(last.end, start), _earlier(last.release, start))
                    )
            phonemes.append(Phoneme(symbol, start, end, release))
        return phonemes


def _earlier(release: float | None, limit: float) -> float | None:
    return None if release is None else min(release, limit)


@lru_cache(maxsize=1)
def espeak() -> Espeak:
    """Return the one instance of this process.

    Raises:
        RuntimeError: espeak-ng is not installed.
    """
    return Espeak()
