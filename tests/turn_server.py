"""A small TURN server by UDP (RFC 8656), with what aiortc needs of one: allocations, channels, and whom they sent to."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from aioice import stun
from aioice.turn import make_integrity_key

REALM, NONCE = "test", b"0123456789abcdef"


class TurnServer(asyncio.DatagramProtocol):
    """Relays at 127.0.0.1; ``running`` starts one.

    Attributes:
        port: where it listens.
        sent_to: the addresses that anybody was relayed to.
    """

    def __init__(self, user: str, password: str) -> None:
        self._user, self._key = user, make_integrity_key(user, REALM, password)
        self._relays: dict[Any, _Allocation] = {}
        self._tasks: set[asyncio.Future[None]] = set()
        self.sent_to: set[tuple[str, int]] = set()

    @classmethod
    async def running(cls, user: str, password: str) -> TurnServer:
        loop = asyncio.get_running_loop()
        _, server = await loop.create_datagram_endpoint(lambda: cls(user, password), local_addr=("127.0.0.1", 0))
        return server

    def connection_made(self, transport: Any) -> None:
        self.transport, self.port = transport, transport.get_extra_info("sockname")[1]

    def close(self) -> None:
        self.transport.close()
        for relay in self._relays.values():
            relay.transport.close()

    def datagram_received(self, data: bytes, client: Any) -> None:
        if data[0] & 0xC0 == 0x40:
            channel, length = struct.unpack("!HH", data[:4])
            self._relays[client].send(channel, data[4 : 4 + length])
            return
        task = asyncio.ensure_future(self._answer(stun.parse_message(data), client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, asked: stun.Message, client: Any) -> None:
        if "USERNAME" not in asked.attributes:
            refusal = stun.Message(asked.message_method, stun.Class.ERROR, asked.transaction_id)
            refusal.attributes.update({"ERROR-CODE": (401, "Unauthorized"), "NONCE": NONCE, "REALM": REALM})
            self.transport.sendto(bytes(refusal), client)
            return
        assert asked.attributes["USERNAME"] == self._user
        answer = stun.Message(asked.message_method, stun.Class.RESPONSE, asked.transaction_id)
        if asked.message_method == stun.Method.ALLOCATE:
            loop = asyncio.get_running_loop()
            relay = _Allocation(self, client)
            await loop.create_datagram_endpoint(lambda: relay, local_addr=("127.0.0.1", 0))
            self._relays[client] = relay
            answer.attributes["LIFETIME"] = asked.attributes["LIFETIME"]
            answer.attributes["XOR-MAPPED-ADDRESS"] = client
            answer.attributes["XOR-RELAYED-ADDRESS"] = relay.transport.get_extra_info("sockname")
        elif asked.message_method == stun.Method.REFRESH:
            answer.attributes["LIFETIME"] = asked.attributes["LIFETIME"]
        elif asked.message_method == stun.Method.CHANNEL_BIND:
            self._relays[client].bind(asked.attributes["CHANNEL-NUMBER"], asked.attributes["XOR-PEER-ADDRESS"])
        answer.add_message_integrity(self._key)
        answer.add_fingerprint()
        self.transport.sendto(bytes(answer), client)


class _Allocation(asyncio.DatagramProtocol):
    def __init__(self, server: TurnServer, client: Any) -> None:
        self._server, self._client = server, client
        self._peers: dict[int, Any] = {}

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def bind(self, channel: int, peer: tuple[str, int]) -> None:
        self._peers[channel] = peer

    def send(self, channel: int, data: bytes) -> None:
        self._server.sent_to.add(self._peers[channel])
        self.transport.sendto(data, self._peers[channel])

    def datagram_received(self, data: bytes, peer: Any) -> None:
        for channel, bound in self._peers.items():
            if bound == peer:
                self._server.transport.sendto(struct.pack("!HH", channel, len(data)) + data, self._client)
                return
