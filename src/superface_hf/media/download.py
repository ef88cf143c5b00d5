"""Download a file from an http(s) address, within limits of size and time, and only from where the caller meant.

A caller may name an address of a private network, such as a file server at home. A public server may not redirect there: it
could make us fetch from machines that only we can reach. So a redirect has to end at a public address. The address is checked
where the connection is made, because a name may resolve to one address now and to another a moment later.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import IO, Any
from urllib.parse import urlsplit

from ..errors import MediaError

MAX_SILENCE = 20.0  # seconds that a server may send nothing
MAX_SECONDS = 600.0  # of a download
MAX_BYTES = 512 * 2**20
CHUNK = 2**20
IN_MEMORY = 16 * 2**20  # a larger download goes to a temporary file
SCHEMES = ("http://", "https://")


def is_url(source: object) -> bool:
    """Return whether ``source`` is an http or https address."""
    return isinstance(source, str) and source.lower().startswith(SCHEMES)


def download(url: str, kind: str, public_only: bool = False) -> IO[bytes]:
    """Download the file at an http(s) address to its end.

    Args:
        kind: what is expected, for messages.
        public_only: whether private addresses are refused even for ``url`` itself, because it comes from a dataset's table.

    Raises:
        MediaError: it cannot be fetched, is too large, takes too long, or leads into a private network.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "superface-hf"})
    file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - the caller reads it
    received = 0
    try:
        with _opener(url, public_only).open(request, timeout=MAX_SILENCE) as response:
            while chunk := response.read(CHUNK):
                received += len(chunk)
                if received > MAX_BYTES:
                    raise MediaError(
                        f"The {kind} at {url} is larger than {MAX_BYTES // 2**20} MB: download it, and pass its path."
                    )
                file.write(chunk)
    except (urllib.error.URLError, HTTPException, OSError, ValueError) as error:
        reason = error.reason if type(error) is urllib.error.URLError else error
        raise MediaError(f"The {kind} at {url} cannot be fetched: {reason}") from error
    return file


def _opener(url: str, public_only: bool) -> urllib.request.OpenerDirector:
    dial = _Dial("" if public_only else urlsplit(url).hostname or "", time.monotonic() + MAX_SECONDS)
    return urllib.request.build_opener(_Http(dial), _Https(dial), _Redirects(dial))


class _Dial:
    """Makes connections: to the host that the caller named, and otherwise only to public addresses."""

    def __init__(self, named: str, deadline: float) -> None:
        self.deadline = deadline
        proxies = {urlsplit(proxy).hostname for proxy in urllib.request.getproxies().values()}
        self._trusted = {named, *proxies} if named and is_private(named) else proxies

    def check(self, host: str) -> None:
        """Raise OSError for a private address that the caller did not name."""
        if host not in self._trusted and is_private(host):
            raise OSError(f"it leads to {host}, which is an address of a private network")

    def __call__(self, address: tuple[str, int], timeout: Any, source_address: Any = None) -> socket.socket:
        host, port = address
        if host in self._trusted:
            return socket.create_connection(address, timeout, source_address)
        self.check(host)
        error: OSError = OSError(f"{host} has no address")
        for place in _addresses(host):
            try:
                # The address itself is checked, as the name could resolve differently a second time.
                self.check(place)
                return socket.create_connection((place, port), timeout, source_address)
            except OSError as failure:
                error = failure
        raise error

    def connection(self, kind: type[http.client.HTTPConnection]) -> Callable[..., http.client.HTTPConnection]:
        """Return a factory of ``kind``, whose connections are made and timed by this object."""

        def make(host: str, **options: Any) -> http.client.HTTPConnection:
            made = kind(host, **options)
            made._create_connection = self  # type: ignore[attr-defined]
            made.response_class = self._response  # type: ignore[assignment]
            return made

        return make

    def _response(self, sock: socket.socket, *args: Any, **options: Any) -> http.client.HTTPResponse:
        response = http.client.HTTPResponse(sock, *args, **options)
        raw = response.fp.detach()
        response.fp = io.BufferedReader(_Timed(raw, sock, self.deadline))
        return response


class _Timed(io.RawIOBase):
    """Reads what a server sends until the deadline. A server that sends a byte now and then is never silent, but it is
    slow."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._raw, self._sock, self._deadline = raw, sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        try:
            if left > 0:
                self._sock.settimeout(min(MAX_SILENCE, left))
                return self._raw.readinto(buffer)
        except TimeoutError:
            if left > MAX_SILENCE:
                raise OSError(f"the server said nothing for {MAX_SILENCE:g} s") from None
        raise OSError(f"it took longer than {MAX_SECONDS:g} s")

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Http(urllib.request.HTTPHandler):
    def __init__(self, dial: _Dial) -> None:
        super().__init__()
        self._dial = dial

    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(self._dial.connection(http.client.HTTPConnection), request)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, dial: _Dial) -> None:
        super().__init__()
        self._dial = dial

    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(self._dial.connection(http.client.HTTPSConnection), request)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, dial: _Dial) -> None:
        self._dial = dial

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        if not is_url(newurl):
            raise urllib.error.URLError(f"it leads to {newurl}, which is no http(s) address")
        self._dial.check(urlsplit(newurl).hostname or "")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def is_private(host: str) -> bool:
    """Return whether a name or address leads to a machine that is not public. A name that is unknown here does not."""
    return any(not _is_global(place) for place in _addresses(host))


def _addresses(host: str) -> list[str]:
    try:
        return [str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []


def _is_global(place: str) -> bool:
    address = ipaddress.ip_address(place.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        return address.is_global if inner is None else inner.is_global
    return address.is_global
