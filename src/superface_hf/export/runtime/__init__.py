"""A student as a folder that runs without torch: graphs, layers and a manifest."""

from .folder import RUNTIMES, FolderReport, export_folder

__all__ = ["RUNTIMES", "FolderReport", "export_folder"]
