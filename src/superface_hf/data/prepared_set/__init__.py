"""A prepared set on disk: tracked clips and portraits as parquet shards, which ``datasets`` opens too.

::

    OUT/train-00000.parquet ...      one row a clip, one row group a row
    OUT/val-00000.parquet ...        clips of people who are in no clip of train
    OUT/portraits-00000.parquet ...  one row a picture
    OUT/manifest.json                what was run, and what became of every raw file

Arrays are little-endian bytes in C order, with the type and shape given at the schemas (``records``). ``superface prepare``
writes sets; code that tracks faces in another way writes them with :func:`write_clips` and :func:`write_portraits`.
"""

from .reading import known_scores, load_clips, load_portraits
from .records import (
    CLIP_SCHEMA,
    MANIFEST,
    POINTS,
    PORTRAIT_SCHEMA,
    PORTRAITS,
    SCORES,
    SPLITS,
    Origin,
    Portraits,
    PreparedClip,
    portrait_rows,
)
from .streaming import ClipStream
from .writing import shard_path, write_clips, write_portraits, write_rows

__all__ = [
    "CLIP_SCHEMA",
    "MANIFEST",
    "POINTS",
    "PORTRAITS",
    "PORTRAIT_SCHEMA",
    "SCORES",
    "SPLITS",
    "ClipStream",
    "Origin",
    "Portraits",
    "PreparedClip",
    "known_scores",
    "load_clips",
    "load_portraits",
    "portrait_rows",
    "shard_path",
    "write_clips",
    "write_portraits",
    "write_rows",
]
