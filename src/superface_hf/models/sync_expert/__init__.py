"""Judges how well a mouth's motion fits a sound, and by how much one is late."""

from .configuration_sync_expert import SuperFaceSyncExpertConfig
from .modeling_sync_expert import SuperFaceSyncExpertModel, SyncExpertOutput, SyncResult

__all__ = ["SuperFaceSyncExpertConfig", "SuperFaceSyncExpertModel", "SyncExpertOutput", "SyncResult"]
