"""Pictures, video and sound: in from anything people have, out as PNG, JPEG and mp4. No ffmpeg program is needed."""

from __future__ import annotations

from .destination import check_writable, replacing
from .download import is_url
from .picture import MAX_PIXELS, check_picture_path, load_picture, open_picture, save_picture
from .samples import SPEECH_RATE, Sound, mono_blocks
from .sound import SoundReader, load_sound
from .transparent import check_transparent_path, transparent_writer
from .video import VideoReader
from .work import Work, WorkLimit
from .writing import VIDEO_SUFFIXES, Mp4Writer, check_video_path, write_mp4

__all__ = [
    "MAX_PIXELS",
    "SPEECH_RATE",
    "VIDEO_SUFFIXES",
    "Mp4Writer",
    "Sound",
    "SoundReader",
    "VideoReader",
    "Work",
    "WorkLimit",
    "check_picture_path",
    "check_transparent_path",
    "check_video_path",
    "check_writable",
    "is_url",
    "load_picture",
    "load_sound",
    "mono_blocks",
    "open_picture",
    "replacing",
    "save_picture",
    "transparent_writer",
    "write_mp4",
]
