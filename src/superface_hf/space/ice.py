"""Whom a call may reach: nobody who has not asked first.

A visitor's offer names addresses, and WebRTC would have the server send packets to all of them, even to names in the local
network. Here they are dropped. The server waits, and answers only where a packet came from that was signed with this call's
password (RFC 8445, 7.3). A page reaches it at the address at which it asked for the page.

A server that cannot be reached by UDP, such as a Space of Hugging Face, needs a relay: a TURN server of its operator. Then it
sends to that relay alone, and the relay to a few public addresses of the offer.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from typing import Any

from ..errors import SuperFaceError

# Names of the environment variables that hold the relay's address, as "turn:host:port", and the name and password there.
TURN, TURN_USER, TURN_PASSWORD = "SUPERFACE_TURN", "SUPERFACE_TURN_USER", "SUPERFACE_TURN_PASSWORD"
MOST_CANDIDATES = 8  # addresses of one offer that a relay sends to
MAX_OFFER = 20_000  # characters; browsers need about 6000
NOT_UNDERSTOOD = "This offer of a call cannot be understood."
_CANDIDATE = "a=candidate:"
_DROPPED = ("a=candidate", "a=remote-candidates", "a=end-of-candidates")


class BadOffer(Exception):
    """What was offered is no call that was waited for."""


@dataclass(frozen=True)
class Relay:
    """A TURN server: its address as ``turn:host:port``, and the name and password there."""

    address: str
    user: str
    password: str

    @classmethod
    def from_environment(cls) -> Relay | None:
        """Return the relay that the environment names, or None.

        Raises:
            SuperFaceError: its address, name or password is missing, or the address is none.
        """
        given = [os.environ.get(name, "") for name in (TURN, TURN_USER, TURN_PASSWORD)]
        if not any(given):
            return None
        scheme, _, host = given[0].partition(":")
        if not all(given) or scheme not in ("turn", "turns") or not host:
            raise SuperFaceError(
                f"A relay for calls needs {TURN} (such as turn:turn.example.org:3478), {TURN_USER} and {TURN_PASSWORD}."
            )
        return cls(*given)

    @property
    def stun(self) -> str:
        """What browsers ask for their own public address: the same server."""
        host = self.address.partition(":")[2].partition("?")[0]
        return f"stun:{host.partition(':')[0]}:{host.partition(':')[2] or 3478}"


def reachable(relay: Relay | None) -> bool:
    """Return whether browsers can reach a call of this server: a Space of Hugging Face takes no UDP, and needs a relay."""
    return relay is not None or "SPACE_ID" not in os.environ


def checked_offer(offer: str, kinds: list[tuple[str, str]], relayed: bool = False) -> str:
    """Return an offer in SDP without the addresses in it, or where a relay sends to them with the first public ones.

    Args:
        kinds: what must be offered, and nothing else: the kind and direction of each stream.

    Raises:
        BadOffer: something else is offered.
    """
    from aiortc.sdp import SessionDescription

    if len(offer) > MAX_OFFER:
        raise BadOffer(NOT_UNDERSTOOD)
    # aiortc splits lines as Python does, at more characters than SDP has.
    lines = offer.splitlines()
    public = [line for line in lines if line.startswith(_CANDIDATE) and _is_public(line)] if relayed else []
    allowed = set(public[:MOST_CANDIDATES])
    kept = "\r\n".join([*(line for line in lines if line in allowed or not line.startswith(_DROPPED)), ""])
    try:
        parsed = SessionDescription.parse(kept)
    except Exception as error:  # aiortc raises all kinds of errors at what is no SDP
        raise BadOffer(NOT_UNDERSTOOD) from error
    offered = sorted((media.kind, media.direction or "sendrecv") for media in parsed.media)
    signed = all(media.dtls and media.dtls.fingerprints and media.ice and media.ice.password for media in parsed.media)
    if offered != sorted(kinds) or not signed:
        raise BadOffer(NOT_UNDERSTOOD)
    return kept


def _is_public(candidate: str) -> bool:
    """Return whether a line of SDP names a public address for UDP, and no name."""
    words = candidate.removeprefix(_CANDIDATE).split()
    try:
        return words[2].lower() == "udp" and ipaddress.ip_address(words[4]).is_global
    except (IndexError, ValueError):
        return False


def own_addresses(host: str) -> list[str]:
    """Return the addresses of this machine at which a call is waited for.

    Args:
        host: the address at which the visitor's request arrived. If it is local, the visitor uses this machine, or came through
            a proxy on it, so all addresses will do.
    """
    try:
        asked_at = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:  # a socket that is a file
        return _all_addresses()
    mapped = asked_at.ipv4_mapped if isinstance(asked_at, ipaddress.IPv6Address) else None
    asked_at = mapped or asked_at
    return [str(asked_at), *_all_addresses()] if asked_at.is_loopback else [str(asked_at)]


def listen_at(peer: Any, addresses: list[str]) -> None:
    """Make an aiortc connection wait at these addresses alone; call it before the answer is made."""
    transports = {each.receiver.transport.transport for each in peer.getTransceivers()}
    for transport in transports:
        connection = transport.iceGatherer._connection
        gather = connection.get_component_candidates

        async def at_ours(gather: Any = gather, **options: Any) -> Any:
            return await gather(**{**options, "addresses": addresses})

        connection.get_component_candidates = at_ours


def _all_addresses() -> list[str]:
    from aioice.ice import get_host_addresses

    return list(get_host_addresses(use_ipv4=True, use_ipv6=True))
