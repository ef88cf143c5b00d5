"""A face in Pipecat's and LiveKit's own machinery: what a peer on WebRTC receives, and what LiveKit's runner is given."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_student import made_student, trained_a_little

from superface_hf import SuperFaceStudentConfig
from superface_hf.integrations import LiveFace
from superface_hf.media import load_sound
from superface_hf.utils.assets import SPEECH

RATE = 24000


@pytest.fixture
def face(scene, face_points) -> LiveFace:
    torch.manual_seed(0)
    student = made_student(SuperFaceStudentConfig.of_size("tiny"), scene, face_points())
    return LiveFace(trained_a_little(student), fps=12.5)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return (load_sound(SPEECH).mono(RATE)[: 2 * RATE] * 32767).astype(np.int16)


def test_a_peer_of_pipecats_webrtc_transport_sees_and_hears_the_face(face, speech):
    pytest.importorskip("pipecat")
    aiortc = pytest.importorskip("aiortc")
    from pipecat.frames.frames import EndFrame, InterruptionFrame, TTSAudioRawFrame, TTSStartedFrame, TTSStoppedFrame
    from pipecat.pipeline.pipeline import Pipeline
    from pipecat.pipeline.worker import PipelineWorker
    from pipecat.processors.frame_processor import FrameProcessor
    from pipecat.transports.base_transport import TransportParams
    from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection
    from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport
    from pipecat.workers.runner import WorkerRunner

    from superface_hf.integrations.pipecat import SuperFaceVideoService

    class Watching(FrameProcessor):
        """What the service gives on, in order."""

        async def process_frame(self, frame, direction):
            await super().process_frame(frame, direction)
            passed.append(frame)
            await self.push_frame(frame, direction)

    passed: list = []
    pictures: list[np.ndarray] = []
    sounds: list[np.ndarray] = []

    async def receive(track) -> None:
        while True:
            try:
                frame = await track.recv()
            except aiortc.mediastreams.MediaStreamError:
                return
            if track.kind == "video":
                pictures.append(frame.to_ndarray(format="rgb24"))
            else:
                sounds.append(frame.to_ndarray())

    async def talk() -> None:
        peer, tasks = aiortc.RTCPeerConnection(), []
        peer.on("track", lambda track: tasks.append(asyncio.ensure_future(receive(track))))
        for kind in ("audio", "video"):
            peer.addTransceiver(kind, direction="recvonly")
        peer.createDataChannel("chat")
        await peer.setLocalDescription(await peer.createOffer())
        connection = SmallWebRTCConnection()
        await connection.initialize(sdp=peer.localDescription.sdp, type=peer.localDescription.type)
        width, height = face.size
        params = TransportParams(
            audio_out_enabled=True, audio_out_sample_rate=RATE, video_out_enabled=True,
            video_out_width=width, video_out_height=height, video_out_framerate=12, audio_out_end_silence_secs=0,
        )  # fmt: skip
        transport = SmallWebRTCTransport(connection, params)
        connected = asyncio.Event()
        transport.add_event_handler("on_client_connected", lambda *_: connected.set())
        service = SuperFaceVideoService(face=face, sampling_rate=RATE)
        worker = PipelineWorker(Pipeline([service, Watching(), transport.output()]), idle_timeout_secs=None)
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        running = asyncio.ensure_future(runner.run())
        answer = connection.get_answer()
        await peer.setRemoteDescription(aiortc.RTCSessionDescription(answer["sdp"], answer["type"]))
        await asyncio.wait_for(connected.wait(), 20)
        while not pictures:  # it idles before anything is said
            await asyncio.sleep(0.05)
        await worker.queue_frames([TTSStartedFrame(), TTSAudioRawFrame(speech.tobytes(), RATE, 1), TTSStoppedFrame()])
        await heard_all()
        # A second time, interrupted.
        await worker.queue_frame(TTSAudioRawFrame(speech.tobytes(), RATE, 1))
        before = spoken()
        while spoken() < before + 4:
            await asyncio.sleep(0.02)
        await worker.queue_frame(InterruptionFrame())
        while not any(isinstance(frame, InterruptionFrame) for frame in passed):
            await asyncio.sleep(0.01)
        at = spoken()
        await asyncio.sleep(0.5)
        assert spoken() - at <= 1
        await worker.queue_frame(EndFrame())
        await asyncio.wait_for(running, 20)
        await peer.close()
        await asyncio.gather(*tasks)

    def spoken() -> int:
        return sum(isinstance(frame, TTSAudioRawFrame) for frame in passed)

    async def heard_all() -> None:
        while not any(isinstance(frame, TTSStoppedFrame) for frame in passed):
            await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(talk(), 60))
    stopped = next(index for index, frame in enumerate(passed) if isinstance(frame, TTSStoppedFrame))
    said = b"".join(frame.audio for frame in passed[:stopped] if isinstance(frame, TTSAudioRawFrame))
    said = np.frombuffer(said, np.int16)
    starts = range(0, len(said) - len(speech) + 1, round(RATE / face.fps))  # a part may begin before its speech does
    assert min(np.abs(said[start : start + len(speech)].astype(int) - speech).max() for start in starts) <= 2
    assert pictures[0].shape == (*face.size[::-1], 3)
    assert len(pictures) > 5
    assert any(np.abs(pictures[0].astype(int) - picture).max() > 8 for picture in pictures)
    heard = np.concatenate(sounds, axis=1)
    assert np.abs(heard).max() > 0.5 * np.abs(speech).max()


class Room:
    """As much of LiveKit's room as a runner needs to publish; nobody else is in it."""

    def __init__(self) -> None:
        async def subscribed() -> None: ...

        async def publish(*_) -> SimpleNamespace:
            return SimpleNamespace(wait_for_subscription=subscribed)

        self.local_participant = SimpleNamespace(publish_track=publish, identity="agent")

    def isconnected(self) -> bool:
        return True

    def on(self, *_) -> None: ...

    def off(self, *_) -> None: ...


def test_livekits_runner_is_given_the_face_in_step_with_the_speech(face, speech):
    pytest.importorskip("livekit.agents")
    from livekit import rtc
    from livekit.agents.voice.avatar import AvatarRunner, QueueAudioOutput

    from superface_hf.integrations.livekit import SuperFaceVideoGenerator

    pushed: list = []
    finished: list = []

    async def talk() -> None:
        generator, output = SuperFaceVideoGenerator(face, RATE), QueueAudioOutput(sample_rate=RATE)
        output.on("playback_finished", finished.append)
        runner = AvatarRunner(Room(), audio_recv=output, video_gen=generator, options=generator.options)
        push = runner.av_sync.push

        async def watched(frame, *args) -> None:
            pushed.append(frame)
            await push(frame, *args)

        runner.av_sync.push = watched
        await runner.start()
        step = RATE // 50
        for start in range(0, len(speech), step):
            chunk = speech[start : start + step]
            await output.capture_frame(rtc.AudioFrame(chunk.tobytes(), RATE, 1, len(chunk)))
        output.flush()
        while not finished:
            await asyncio.sleep(0.05)
        # A second time, interrupted.
        for start in range(0, len(speech), step):
            chunk = speech[start : start + step]
            await output.capture_frame(rtc.AudioFrame(chunk.tobytes(), RATE, 1, len(chunk)))
        before = spoken()
        while spoken() < before + 4:
            await asyncio.sleep(0.02)
        output.clear_buffer()
        await asyncio.sleep(0.2)
        at = spoken()
        await asyncio.sleep(0.5)
        assert spoken() == at
        await generator.aclose()
        await runner.aclose()

    def spoken() -> int:
        return sum(isinstance(frame, rtc.AudioFrame) for frame in pushed)

    asyncio.run(asyncio.wait_for(talk(), 60))
    assert [event.interrupted for event in finished] == [False, True]
    assert finished[0].playback_position >= len(speech) / RATE
    pictures = [frame for frame in pushed if isinstance(frame, rtc.VideoFrame)]
    assert (pictures[0].width, pictures[0].height) == face.size
    assert len({bytes(frame.data) for frame in pictures}) > 5
    # Every piece of sound follows the picture of its time, so that none runs ahead.
    for before, frame in pairwise(pushed):
        if isinstance(frame, rtc.AudioFrame):
            assert isinstance(before, rtc.VideoFrame)
            assert frame.duration == pytest.approx(1 / face.fps, abs=1e-3)
