"""A server that nobody should ask, and files that try to make us ask it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Canary:
    """A server that notes every request; ``answers`` maps a path to a status, a header or None, and the body's pieces."""

    url: str
    hits: list[str] = field(default_factory=list)
    answers: dict[str, tuple[int, str | None, list[bytes]]] = field(default_factory=dict)
    pause: float = 0.0


def serve(host: str) -> Iterator[Canary]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            canary.hits.append(self.path)
            status, location, pieces = canary.answers.get(self.path, (200, None, [b"#EXTM3U\n"]))
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.end_headers()
            try:
                for piece in pieces:
                    self.wfile.write(piece)
                    self.wfile.flush()
                    time.sleep(canary.pause)
            except OSError:
                return  # the reader has given up

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer((host, 0), Handler) as server:
        canary = Canary(f"http://{host}:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield canary
        server.shutdown()


def recipes(secret: Path, canary: Canary) -> dict[str, bytes]:
    """Files that are no media themselves but name what is to be opened."""
    hls = (
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        "playlist of a file": hls.format(secret).encode(),
        "playlist of an address": hls.format(f"{canary.url}/playlist.mp4").encode(),
        "concat script": f"ffconcat version 1.0\nfile '{secret}'\n".encode(),
        "concat script of an address": f"ffconcat version 1.0\nfile {canary.url}/concat.mp4\n".encode(),
        "session description": f"v=0\nm=audio {port} RTP/AVP 0\nc=IN IP4 127.0.0.1\n".encode(),
        "DASH": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet><Representation '
        f'id="1" mimeType="video/mp4"><BaseURL>{canary.url}/dash.mp4</BaseURL></Representation></AdaptationSet></Period>'
        "</MPD>".encode(),
        "SVG": f'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><image href="{canary.url}/a.png"/></svg>'
        "".encode(),
    }
