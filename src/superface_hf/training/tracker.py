"""Trains both halves of the tracker and joins them into a model folder::

    python -m superface_hf.training.tracker --data $SUPERFACE_DATA --out src/superface_hf/weights/tracker

Each half can be trained on its own (``tracker_detector``, ``tracker_landmarks``); ``--join-only`` joins what is there.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ..models.tracker.configuration_tracker import SuperFaceTrackerConfig
from ..models.tracker.modeling_tracker import SuperFaceTrackerModel
from . import tracker_detector, tracker_landmarks
from .run import parse_config


@dataclass
class TrackerTrainingConfig:
    """How the tracker is trained; the halves' own configurations say more.

    Attributes:
        data: folder with ``clips.csv``; prepared: what ``training.prepare`` made; out: the model folder to write.
        runs: folder of checkpoints.
        detector_minutes, landmark_minutes: how long each half trains.
        join_only: train nothing, take the checkpoints that are there.
    """

    data: Path
    out: Path
    prepared: Path = Path(".cache/prepared")
    runs: Path = Path("runs")
    detector_minutes: float = 13.0
    landmark_minutes: float = 36.0
    join_only: bool = False


def join(detector: Path, landmarks: Path, out: Path, config: SuperFaceTrackerConfig | None = None) -> None:
    """Writes a model folder from the averaged weights of both halves, in half precision; it loads as float32."""
    model = SuperFaceTrackerModel(config or SuperFaceTrackerConfig())
    model.detector.load_state_dict(load_file(detector))
    model.regressor.load_state_dict(load_file(landmarks))
    model.config.dtype = torch.float32
    model.config.architectures = [type(model).__name__]
    out.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(out)
    state = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }
    temporary = out / "model.tmp"
    save_file(state, temporary, metadata={"format": "pt"})
    # Whoever installs the package must be able to read it, whatever mode the writer chose.
    temporary.chmod(0o644)
    temporary.rename(out / "model.safetensors")


def train(config: TrackerTrainingConfig) -> None:
    """Trains the detector, then the regressor, and joins them."""
    detector_config = tracker_detector.DetectorTrainingConfig(
        config.data, config.prepared, config.runs / "tracker_detector", minutes=config.detector_minutes
    )
    landmark_config = tracker_landmarks.LandmarkTrainingConfig(
        config.data,
        config.prepared,
        config.runs / "tracker_landmarks",
        minutes=config.landmark_minutes,
        detector=detector_config.out / "averaged.safetensors",
    )
    if not config.join_only:
        tracker_detector.train(detector_config)
        tracker_landmarks.train(landmark_config)
    join(detector_config.out / "averaged.safetensors", landmark_config.out / "averaged.safetensors", config.out)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    train(parse_config(TrackerTrainingConfig, __doc__ or ""))


if __name__ == "__main__":
    main()
