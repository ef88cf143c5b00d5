"""Score rendered frames against the true ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from ..errors import SuperFaceError
from ..face_model.coordinates import Square
from ..face_model.topology import eye_boxes, mouth_box
from ..metrics.features import FeatureNetwork, Lpips, perceptual_distance
from ..metrics.identity import IdentityNetwork, identity_distance, identity_similarity
from ..metrics.image import as_floats, box_mask, mean_ssim, psnr, ssim_map
from ..metrics.keypoints import expression_distance, face_width, keypoint_distance, motions_of, pose_distance
from ..metrics.sharpness import hair_mask, sharpness_ratio, skin_mask
from ..models.tracker.base import FaceTracker
from .data import Reenactment
from .expression import Landmarker

# The number of frames of each clip, evenly spaced, that the identity network scores; it is slow.
IDENTITY_FRAMES = 6
# A mouth that is this much further open than the source's, in percent of the face's width, has opened.
OPENED = 3.0
INNER_LIPS = (13, 14)

T = TypeVar("T")


@dataclass
class Scores:
    """The scores of one method on one clip: ``values`` name -> (T,), NaN where a frame has none; ``pooled`` (T, 320)
    features."""

    values: dict[str, np.ndarray] = field(default_factory=dict)
    pooled: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))

    def means(self) -> dict[str, float]:
        """Return the means by name; NaN where no frame has a value."""
        return {name: _mean(values) for name, values in self.values.items()}


class FrameScorer:
    """Holds the networks that score frames. Packages that are not installed are left out, and named in ``missing``."""

    def __init__(
        self, tracker: FaceTracker, device: str | torch.device = "cpu", landmarker_file: Path | None = None
    ) -> None:
        self.tracker = tracker
        self.missing: list[str] = []
        self.features = FeatureNetwork(device)
        self.second = self._optional(lambda: FeatureNetwork(device, "lite2"))
        self.identity = self._optional(IdentityNetwork)
        self.lpips = self._optional(Lpips)
        official = self._optional(lambda: Landmarker.official(landmarker_file))
        self.landmarker = official or Landmarker.embedded(tracker)

    def _optional(self, network: Callable[[], T]) -> T | None:
        try:
            return network()
        except SuperFaceError as error:
            self.missing.append(str(error))
            return None

    def score(self, rendered: dict[str, np.ndarray], clip: Reenactment) -> tuple[dict[str, Scores], np.ndarray]:
        """Return the scores by method, and the pooled features (T, 320) of the targets.

        Args:
            rendered: method -> (T, side, side, 3) uint8 frames of the clip's targets.
        """
        scores = {method: Scores() for method in rendered}
        rows: dict[str, list[dict[str, float]]] = {method: [] for method in rendered}
        pooled: dict[str, list[np.ndarray]] = {method: [] for method in (*rendered, "target")}
        for index, target in enumerate(clip.targets):
            frames = {method: pictures[index] for method, pictures in rendered.items()}
            for method, row in self._compare(frames, target, clip.target_landmarks[index], pooled):
                rows[method].append(row)
        chosen = np.unique(np.linspace(0, len(clip.targets) - 1, IDENTITY_FRAMES).round().astype(int))
        true_faces = self._embed(clip.targets[chosen], clip.target_landmarks[chosen])
        for method, pictures in rendered.items():
            found = track(self.tracker, pictures)
            scores[method].values = {name: np.array([row[name] for row in rows[method]]) for name in rows[method][0]}
            scores[method].values |= _geometry(found, clip) | self._likeness(pictures, found, chosen, true_faces)
            scores[method].pooled = np.concatenate(pooled[method])
        return scores, np.concatenate(pooled["target"])

    def _compare(
        self,
        frames: dict[str, np.ndarray],
        target: np.ndarray,
        landmarks: np.ndarray,
        pooled: dict[str, list[np.ndarray]],
    ) -> Iterator[tuple[str, dict[str, float]]]:
        """Yield the scores of pictures alone, of one frame by each method; append to ``pooled``."""
        height, width = target.shape[:2]
        boxes = box_mask([mouth_box(landmarks), *eye_boxes(landmarks)], height, width)
        regions = {"skin": skin_mask(landmarks, height, width), "hair": hair_mask(landmarks, height, width)}
        true = as_floats(target)
        pictures = _tensor([target, *frames.values()])
        seen = self.features(pictures)
        seen_too = self.second(pictures) if self.second else None
        pooled["target"].append(seen[0].pooled.cpu().numpy())
        for place, (method, frame) in enumerate(frames.items(), start=1):
            picture = as_floats(frame)
            similarity = ssim_map(picture, true)
            pooled[method].append(seen[place].pooled.cpu().numpy())
            row = {
                "psnr": psnr(picture, true),
                "psnr_boxes": psnr(picture, true, boxes),
                "ssim": mean_ssim(similarity),
                "ssim_boxes": mean_ssim(similarity, boxes),
                "perceptual": float(perceptual_distance(seen[place], seen[0])[0]),
            }
            if seen_too is not None:
                row["perceptual2"] = float(perceptual_distance(seen_too[place], seen_too[0])[0])
            if self.lpips is not None:
                row["lpips"] = float(self.lpips(_tensor([frame]), _tensor([target]))[0])
            for region, mask in regions.items():
                row[f"sharpness_{region}"] = sharpness_ratio(picture, true, mask)
            yield method, row

    def _likeness(
        self, frames: np.ndarray, found: np.ndarray, chosen: np.ndarray, true_faces: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return the similarity of the faces in the ``chosen`` frames to the true ones, whose embeddings are given."""
        values = {name: np.full(len(frames), np.nan) for name in ("identity", "identity_distance")}
        seen = np.isfinite(found[chosen, 0, 0])
        if self.identity is not None and seen.any():
            faces = self._embed(frames[chosen[seen]], found[chosen[seen]])
            values["identity"][chosen[seen]] = identity_similarity(faces, true_faces[seen])
            values["identity_distance"][chosen[seen]] = identity_distance(faces, true_faces[seen])
        return values

    def _embed(self, pictures: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Return embeddings (N, 128); NaN without an identity network."""
        if self.identity is None:
            return np.full((len(pictures), 128), np.nan)
        return self.identity(list(pictures), list(landmarks))


def track(tracker: FaceTracker, frames: np.ndarray) -> np.ndarray:
    """Return landmarks (T, 478, 3) in pixels of frames (T, H, W, 3) uint8; NaN where no face is found."""
    faces = tracker.follow(np.ascontiguousarray(frame) for frame in frames)
    return np.stack([np.full((478, 3), np.nan, np.float32) if face is None else face.landmarks for face in faces])


def mouth_gap(landmarks: np.ndarray) -> np.ndarray:
    """Return the distance (...) of the inner lips of (..., 478, 3), in percent of the face's width."""
    upper, lower = (landmarks[..., point, :2] for point in INNER_LIPS)
    return 100 * np.linalg.norm(lower - upper, axis=-1) / face_width(landmarks)


def _geometry(found: np.ndarray, clip: Reenactment) -> dict[str, np.ndarray]:
    """Return the scores of landmarks (T, 478, 3) in pixels that a tracker found in rendered frames."""
    seen = np.isfinite(found[:, 0, 0])
    values = {name: np.full(len(found), np.nan) for name in ("keypoints", "expression", "pose", "opening")}
    values["lost"] = 1.0 - seen
    if seen.any():
        rendered, true = found[seen], clip.target_landmarks[seen]
        square = Square(0, 0, clip.side)
        motions = motions_of(square.to_image(rendered), square.to_image(true), clip.shape, clip.motion.fps)
        values["keypoints"][seen] = keypoint_distance(rendered, true)
        values["expression"][seen] = expression_distance(*motions)
        values["pose"][seen] = pose_distance(*motions)
        values["opening"][seen] = _opening_reached(rendered, true, clip)
    return values


def _opening_reached(rendered: np.ndarray, true: np.ndarray, clip: Reenactment) -> np.ndarray:
    """Return the share of the target's mouth opening that the rendered mouth reaches, for frames whose mouth opens; NaN
    for others."""
    rest = mouth_gap(clip.source_landmarks.numpy())[0]
    change = mouth_gap(true) - rest
    return np.where(change > OPENED, (mouth_gap(rendered) - rest) / np.maximum(change, OPENED), np.nan)


def _tensor(pictures: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
