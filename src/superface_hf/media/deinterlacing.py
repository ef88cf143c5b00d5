"""Deinterlace video: its two fields were taken one after the other, so moving edges would show combs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av
from av.filter import Graph


class Deinterlacer:
    """Passes frames on, and filters interlaced ones (BWDIF) from the first interlaced frame on."""

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._graph: Graph | None = None
        self._form: tuple[Any, ...] = ()

    def __call__(self, frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        for frame in frames:
            if (self._graph is None and not frame.interlaced_frame) or frame.pts is None:
                yield from self._ended()
                yield frame
                continue
            form = (frame.width, frame.height, frame.format.name)
            if self._graph is None or form != self._form:
                yield from self._ended()
                self._graph, self._form = self._started(frame), form
            frame.time_base = self._time_base
            self._graph.push(frame)
            yield from self._ready(self._graph)
        yield from self._ended()

    def _started(self, frame: av.VideoFrame) -> Graph:
        graph = Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=self._time_base
        )
        filtering = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
        sink = graph.add("buffersink")
        source.link_to(filtering)
        filtering.link_to(sink)
        graph.configure()
        return graph

    def _ready(self, graph: Graph) -> Iterator[av.VideoFrame]:
        while True:
            try:
                frame = graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            if isinstance(frame, av.VideoFrame):
                if frame.pts is not None and frame.time_base:
                    frame.pts = round(frame.pts * frame.time_base / self._time_base)
                frame.time_base = self._time_base
                yield frame

    def _ended(self) -> Iterator[av.VideoFrame]:
        if self._graph is None:
            return
        graph, self._graph = self._graph, None
        graph.push(None)
        yield from self._ready(graph)
