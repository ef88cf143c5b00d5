"""Many jobs: a table of pictures or students and what drives them -> a folder of clips and a report."""

from __future__ import annotations

from .run import BatchReport, run_batch
from .worker import RenderRow

__all__ = ["BatchReport", "RenderRow", "run_batch"]
