"""The sync expert: measures how well a mouth's motion fits a sound, and the delay between them."""

from .configuration_sync_expert import SuperFaceSyncExpertConfig
from .modeling_sync_expert import SuperFaceSyncExpertModel, SyncExpertOutput, SyncResult

__all__ = ["SuperFaceSyncExpertConfig", "SuperFaceSyncExpertModel", "SyncExpertOutput", "SyncResult"]
