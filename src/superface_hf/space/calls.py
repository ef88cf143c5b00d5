"""Calls: pictures and sound go to a visitor's browser by WebRTC, and pictures of their camera come from there.

A handler invites its visitor: it gives the page a token that only this visitor knows, and the page brings its offer to
``/live/offer`` with it. So a call has passed the gate and has waited in the queue like everything else, and it ends with its
handler, which says what to do instead where no connection comes about. :mod:`.ice` bounds what the server connects to.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .ice import NOT_UNDERSTOOD, BadOffer, Relay, checked_offer, listen_at, own_addresses
from .messages import APOLOGY, log_fault

if TYPE_CHECKING:
    import numpy as np

SILENCE = 5.0  # seconds after which a camera that sends nothing has ended its call
ANSWER = 5.0  # seconds to answer an offer
LAST_WORDS = 1.0  # seconds in which the connections say goodbye when the server stops

OFFERED = {True: [("video", "sendrecv")], False: [("audio", "recvonly"), ("video", "recvonly")]}

logger = logging.getLogger(__name__)


class Call:
    """One call. Handlers and their threads use it; :class:`Calls` answers the visitor.

    Args:
        calls: where it is waited for.
        with_camera: whether the visitor sends their camera's pictures; otherwise they only see and hear.

    Attributes:
        token: the word that lets the visitor in, once.
        connected, over: set when this has happened.
    """

    def __init__(self, calls: Calls, with_camera: bool) -> None:
        self.token, self.with_camera = secrets.token_urlsafe(16), with_camera
        self.connected, self.over = threading.Event(), threading.Event()
        self._calls = calls
        self._peer: Any = None
        self._pictures: Any = None
        self._sounds: Any = None
        self._camera: Any = None
        self._began, self._samples = 0.0, 0

    def show(self, picture: np.ndarray, sound: np.ndarray | None = None) -> None:
        """Send a picture, and the sound of its time.

        Args:
            picture: (H, W, 3) uint8.
            sound: (n,) int16 at :data:`.call_media.SOUND_RATE`. Without any, pictures are shown as they come.
        """
        if self.over.is_set():
            return
        if sound is None:
            self._began = self._began or time.monotonic()
            seconds = time.monotonic() - self._began
        else:
            from .call_media import SOUND_RATE

            seconds = self._samples / SOUND_RATE
            self._samples += len(sound)
            self._calls.in_loop(self._sounds.put, sound)
        self._calls.in_loop(self._pictures.put, picture, seconds)

    def camera(self) -> Iterator[np.ndarray]:
        """Yield the newest picture (H, W, 3) uint8 of the visitor's camera each time that another has come, until the
        call or the camera ends."""
        yield from self._camera.pictures(self.over, SILENCE)

    @property
    def pictures_seen(self) -> int:
        """How many pictures the camera has sent."""
        return self._camera.seen if self._camera else 0

    def end(self) -> None:
        """End the call, or stop to wait for it."""
        self.over.set()
        self._calls.forget(self)

    def __enter__(self) -> Call:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def invitation(self) -> dict[str, Any]:
        """What the page is given, to come."""
        relay = self._calls.relay
        return {"call": self.token, "camera": self.with_camera, "stun": relay.stun if relay else None}

    async def answer(self, offer: str, host: str, relay: Relay | None) -> str:
        """Answer a visitor's offer, both in SDP; runs in the calls' event loop.

        Args:
            host: the address of this machine at which the visitor asked.
            relay: what carries the call, if this machine cannot be reached itself.

        Raises:
            BadOffer: it is none.
        """
        from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription

        from .call_media import BoundedDecoding, Camera, PictureTrack, SoundTrack

        peer = self._peer = RTCPeerConnection(_configuration(relay))
        self._pictures, self._sounds, self._camera = PictureTrack(), SoundTrack(), Camera()
        watching: list[asyncio.Task[None]] = []

        @peer.on("connectionstatechange")
        def changed() -> None:
            if peer.connectionState == "connected":
                self.connected.set()
            elif peer.connectionState in ("failed", "closed"):
                self.end()

        @peer.on("track")
        def came(track: Any) -> None:
            watching.append(asyncio.ensure_future(self._camera.watch(track)))

        if not self.with_camera:
            peer.addTrack(self._sounds)
        peer.addTrack(self._pictures)
        for transceiver in peer.getTransceivers():
            if transceiver.kind == "video":
                codecs = RTCRtpSender.getCapabilities("video").codecs
                transceiver.setCodecPreferences([each for each in codecs if each.mimeType == "video/VP8"])
                BoundedDecoding.before(transceiver.receiver, self.end)
        try:
            await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            answer = await peer.createAnswer()
        except Exception as error:  # aiortc raises all kinds of errors at what is no offer
            raise BadOffer(NOT_UNDERSTOOD) from error
        if relay is None:
            listen_at(peer, own_addresses(host))
        await peer.setLocalDescription(answer)
        return str(peer.localDescription.sdp)

    async def close(self) -> None:
        """Close the connection; runs in the calls' event loop."""
        if self._peer is not None:
            await self._peer.close()


class Calls:
    """The calls of a server. They have an event loop of their own, so that none waits for the page's requests.

    Args:
        usable: False never offers a call.
        relay: carries all calls, if this machine cannot be reached itself.
    """

    def __init__(self, usable: bool = True, relay: Relay | None = None) -> None:
        self.usable = usable and find_spec("aiortc") is not None
        self.relay = relay
        self._waited_for: dict[str, Call] = {}
        self._going_on: set[Call] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._going_on)

    def invite(self, with_camera: bool) -> Call:
        """Wait for a visitor. The call ends with its ``with`` block."""
        call = Call(self, with_camera)
        with self._lock:
            self._waited_for[call.token] = call
        return call

    async def answer(self, token: str, offer: str | None, host: str) -> str:
        """Let a visitor in, once. Returns the answer in SDP.

        Args:
            token: the word from the page.
            offer: the offer in SDP; None says that the visitor's browser cannot connect.
            host: the address of this machine at which the visitor asked.

        Raises:
            BadOffer: the token is unknown or used, or this is not the offer of such a call.
        """
        with self._lock:
            call = self._waited_for.pop(token, None)
            if call is not None and offer is not None:
                self._going_on.add(call)
        if call is None:
            raise BadOffer("This call is over. Please start it again.")
        if offer is None:
            call.end()
            return ""
        answered = False
        try:
            checked = checked_offer(offer, OFFERED[call.with_camera], relayed=self.relay is not None)
            answering = asyncio.run_coroutine_threadsafe(call.answer(checked, host, self.relay), self._running_loop())
            answer = await asyncio.wait_for(asyncio.wrap_future(answering), ANSWER)
            answered = True
            return answer
        except BadOffer:
            raise
        except Exception as error:
            log_fault("A call could not be answered", error)
            raise BadOffer(APOLOGY) from error
        finally:
            if not answered:
                call.end()

    def in_loop(self, function: Callable[..., None], *args: Any) -> None:
        """Call a function soon, in the calls' event loop."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(function, *args)

    def forget(self, call: Call) -> None:
        """End the connection of a call that is over, if it has one, and wait for it no more."""
        with self._lock:
            self._waited_for.pop(call.token, None)
            going_on = call in self._going_on
            self._going_on.discard(call)
            if going_on and self._loop is not None:
                asyncio.run_coroutine_threadsafe(call.close(), self._loop)

    def close(self) -> None:
        """End all calls, and take no more."""
        self.usable = False
        with self._lock:
            calls = [*self._waited_for.values(), *self._going_on]
        for call in calls:
            call.end()
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.call_later, LAST_WORDS, loop.stop)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = self._loop = asyncio.new_event_loop()
                # What visitors send is no fault of the server, and not for its log.
                loop.set_exception_handler(lambda _, context: logger.debug("In a call: %s", context))
                for name in ("aiortc", "aioice"):
                    logging.getLogger(name).setLevel(logging.CRITICAL)
                threading.Thread(target=_run, args=(loop,), name="superface-calls", daemon=True).start()
            return self._loop


def _configuration(relay: Relay | None) -> Any:
    from aiortc import RTCConfiguration, RTCIceServer, RTCIceTransportPolicy

    if relay is None:
        return RTCConfiguration(iceServers=[])  # None would ask Google's server for this machine's address
    server = RTCIceServer(relay.address, relay.user, relay.password)
    return RTCConfiguration([server], RTCIceTransportPolicy.RELAY)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
