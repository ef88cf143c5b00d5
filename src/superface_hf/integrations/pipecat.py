"""Pipecat: a face between the text-to-speech and the transport."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import SuperFaceError, install_command
from .live import LiveFace, LiveSession

try:
    from pipecat.frames.frames import (
        CancelFrame,
        EndFrame,
        Frame,
        InterruptionFrame,
        OutputImageRawFrame,
        StartFrame,
        TTSAudioRawFrame,
        TTSStartedFrame,
        TTSStoppedFrame,
    )
    from pipecat.processors.frame_processor import FrameDirection
    from pipecat.services.ai_service import AIService
    from pipecat.services.settings import ServiceSettings
    from pipecat.transports.base_transport import TransportParams
except ImportError as error:
    raise SuperFaceError(f"SuperFaceVideoService needs Pipecat: {install_command('pipecat')}.") from error


# The browser's side of a small agent: it sends its offer to /offer, shows the face, and sends what is typed as a message.
VISITOR_PAGE = """<video autoplay playsinline></video><form><input name=text autofocus></form><script>
const peer = new RTCPeerConnection(), stream = new MediaStream(), chat = peer.createDataChannel('chat');
peer.ontrack = each => { stream.addTrack(each.track); document.querySelector('video').srcObject = stream; };
document.forms[0].onsubmit = event => { event.preventDefault();
  chat.send(JSON.stringify({type: 'say', text: document.forms[0].text.value})); };
(async () => { for (const kind of ['audio', 'video']) peer.addTransceiver(kind, {direction: 'recvonly'});
  await peer.setLocalDescription(); while (peer.iceGatheringState != 'complete') await new Promise(go => setTimeout(go, 50));
  const answer = await fetch('/offer', {method: 'POST', body: JSON.stringify(peer.localDescription)});
  await peer.setRemoteDescription(await answer.json()); })();</script>"""


def transport_params(face: LiveFace, **more: Any) -> TransportParams:
    """Return the transport's parameters that show ``face``, with any others that are given."""
    width, height = face.size
    picture = {"video_out_width": width, "video_out_height": height, "video_out_framerate": max(1, round(face.fps))}
    return TransportParams(**{"audio_out_enabled": True, "video_out_enabled": True, **picture, **more})


def speech_frames(spoken: Mapping[str, Any]) -> tuple[Frame, ...]:
    """Return the frames of what a transformers text-to-speech pipeline gave: ``{"audio", "sampling_rate"}``, floats in [-1,
    1]."""
    samples = (np.clip(np.ravel(spoken["audio"]), -1, 1) * 32767).astype(np.int16)
    return TTSStartedFrame(), TTSAudioRawFrame(samples.tobytes(), spoken["sampling_rate"], 1), TTSStoppedFrame()


class SuperFaceVideoService(AIService):
    """Speech frames in, pictures and the same speech in step out.

    Put it behind the text-to-speech. Speech goes on when its pictures are there; all other frames pass. Pictures come all the
    time: the face idles while it listens. An interruption shuts the mouth in the next picture.

    :func:`transport_params` gives what the transport has to know.

    Args:
        face: which; the embedded student by default. Several services may share one.
        sampling_rate: of the speech that goes on, in samples a second.
        options: of Pipecat's ``AIService``.
    """

    def __init__(self, *, face: LiveFace | None = None, sampling_rate: int = 24_000, **options: Any) -> None:
        super().__init__(settings=ServiceSettings(model=None), **options)
        self.face = face or LiveFace()
        self.session: LiveSession | None = None
        self._rate = sampling_rate
        self._stopped: TTSStoppedFrame | None = None
        self._showing: asyncio.Task[None] | None = None

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        self.session = self.face.session(self._rate)

    async def stop(self, frame: EndFrame) -> None:
        await super().stop(frame)
        await self._end()

    async def cancel(self, frame: CancelFrame) -> None:
        await super().cancel(frame)
        await self._end()

    async def cleanup(self) -> None:
        await super().cleanup()
        await self._end()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame) and self.session is not None:
            samples = np.frombuffer(frame.audio, np.int16).reshape(-1, frame.num_channels)
            self.session.push(samples, frame.sample_rate)
            return
        if isinstance(frame, TTSStoppedFrame) and self.session is not None:
            self._stopped = frame  # goes on when the last of the speech has
            self.session.end()
            return
        if isinstance(frame, InterruptionFrame) and self.session is not None:
            self._stopped = None
            self.session.interrupt()
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame) and self._showing is None:
            self._showing = self.create_task(self._show())

    async def _show(self) -> None:
        session = self.session
        assert session is not None
        async for part in session.parts():
            height, width = part.picture.shape[:2]
            picture = OutputImageRawFrame(image=part.picture.tobytes(), size=(width, height), format="RGB")
            picture.sync_with_audio = True  # shown when all sound before it has been sent
            await self.push_frame(picture)
            if part.speaking and not session.dropped_by_interruption(part):
                await self.push_frame(
                    TTSAudioRawFrame(audio=part.sound.tobytes(), sample_rate=self._rate, num_channels=1)
                )
            if part.ends and self._stopped is not None:
                stopped, self._stopped = self._stopped, None
                await self.push_frame(stopped)

    async def _end(self) -> None:
        if self.session is not None:
            session, self.session = self.session, None
            await asyncio.to_thread(session.close)
        if self._showing is not None:
            showing, self._showing = self._showing, None
            await self.cancel_task(showing)
