"""LiveKit: a generator for its avatar runner, and a session that puts a face before an agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from ..errors import SuperFaceError, install_command
from .live import SOUND_RATE, LiveFace

try:
    from livekit import rtc
    from livekit.agents.voice.avatar import (
        AudioSegmentEnd,
        AvatarOptions,
        AvatarRunner,
        AvatarSession,
        QueueAudioOutput,
        VideoGenerator,
    )
except ImportError as error:
    raise SuperFaceError(f"The avatar needs LiveKit's agents: {install_command('livekit')}.") from error


class SuperFaceVideoGenerator(VideoGenerator):
    """For :class:`livekit.agents.voice.avatar.AvatarRunner`: speech in, pictures and the same speech in step out.

    Pictures come all the time: the face idles while it listens. Make it where an event loop runs, and close it.

    Args:
        face: which; the embedded student by default. Several generators may share one.
        sampling_rate: of the speech that comes out, in samples a second.
    """

    def __init__(self, face: LiveFace | None = None, sampling_rate: int = SOUND_RATE) -> None:
        self.face = face or LiveFace()
        self.session = self.face.session(sampling_rate)

    @property
    def options(self) -> AvatarOptions:
        """What the runner has to know."""
        width, height = self.face.size
        return AvatarOptions(
            video_width=width, video_height=height, video_fps=self.face.fps,
            audio_sample_rate=self.session.rate, audio_channels=1,
        )  # fmt: skip

    async def push_audio(self, frame: rtc.AudioFrame | AudioSegmentEnd) -> None:
        """Take speech, or its end."""
        if isinstance(frame, AudioSegmentEnd):
            self.session.end()
        else:
            samples = np.frombuffer(frame.data, np.int16).reshape(-1, frame.num_channels)
            self.session.push(samples, frame.sample_rate)

    def clear_buffer(self) -> None:
        """Interrupts the speech; the next picture's mouth is shut."""
        self.session.interrupt()

    def __aiter__(self) -> AsyncIterator[rtc.VideoFrame | rtc.AudioFrame | AudioSegmentEnd]:
        return self._frames()

    async def aclose(self) -> None:
        """End the session."""
        await asyncio.to_thread(self.session.close)

    async def _frames(self) -> AsyncIterator[rtc.VideoFrame | rtc.AudioFrame | AudioSegmentEnd]:
        async for part in self.session.parts():
            height, width = part.picture.shape[:2]
            rgba = np.dstack([part.picture, np.full((height, width), 255, np.uint8)])
            picture = rtc.VideoFrame(width, height, rtc.VideoBufferType.RGBA, rgba.tobytes())
            for sound in np.array_split(part.sound, part.frames):  # the synchronizer wants its rate
                yield picture
                if part.speaking and not self.session.dropped_by_interruption(part):
                    yield rtc.AudioFrame(sound.tobytes(), self.session.rate, 1, len(sound))
            if part.ends:
                yield AudioSegmentEnd()


class SuperFaceAvatarSession(AvatarSession):
    """Shows a face in the agent's own room, drawn in the agent's own process.

    Args:
        face: which; the embedded student by default.
        sampling_rate: of the agent's speech, in samples a second.
    """

    def __init__(self, face: LiveFace | None = None, sampling_rate: int = SOUND_RATE) -> None:
        super().__init__()
        self._room: Any = None
        self._generator = SuperFaceVideoGenerator(face, sampling_rate)
        self._runner: AvatarRunner | None = None

    @property
    def avatar_identity(self) -> str:
        """The agent's own: it publishes the tracks."""
        return self._room.local_participant.identity if self._room is not None else ""

    @property
    def provider(self) -> str:
        return "superface-hf"

    async def start(self, agent_session: Any, room: rtc.Room) -> None:
        """Take the agent's speech, and publish pictures and sound. Call it before ``agent_session.start``."""
        await super().start(agent_session, room)
        output = QueueAudioOutput(sample_rate=self._generator.session.rate, wait_playback_start=True)
        self._runner = AvatarRunner(room, audio_recv=output, video_gen=self._generator, options=self._generator.options)
        await self._runner.start()
        agent_session.output.audio = output

    async def aclose(self) -> None:
        """End the session. The agent stays in the room."""
        if self._runner is not None:
            await self._runner.aclose()
            self._runner = None
        await self._generator.aclose()
        if self._room is not None:  # the parent would have the avatar leave, which is the agent
            self._room.off("connection_state_changed", self._on_connection_state_changed)
            self._room = None
        await super().aclose()
