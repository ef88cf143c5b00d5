"""The face tracker: finds faces in pictures, gives each a 478-point 3D mesh, and follows one through a video."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init

from ...hub.model import HubMixin
from .base import CERTAIN, CLEAR, Face
from .configuration_tracker import SuperFaceTrackerConfig
from .crops import FaceCrop, face_roll
from .detection import check_picture, letterbox, pixels_of, read_maps
from .eyes import cut_eye, eye_crops, with_eyes
from .networks import CropRefiner, FaceDetector, LandmarkRegressor
from .ordering import distinct, in_order, same_face
from .regions import BROWS, MOUTH

# A mesh whose roll differs more from the detector's is no face. The detector is unreliable for rolls near 45 degrees,
# so it checks a certain mesh again, upright, in a square AROUND times as wide as the face. An upright face scores 0.69
# to 0.8 there, one that is rolled by 60 degrees or more nearly always less than 0.6, as knobs and doors do.
CONTRADICTION = math.radians(25)
AROUND, UPRIGHT = 2.5, 0.62
# Alone, a thing scores less than a person beside it by more than the first number. Only what the detector was less sure of in
# the whole picture than the second, relative to the surest, is compared so: people differ by as much.
LESS, WEAK = 0.1, 0.85
# The crop of a new face is repeated around its own landmarks until both agree, at most so often.
REFINEMENTS = 3
# A followed face that moved by this many tolerances within a frame is measured again in its new position.
FAST = 2.0


class SuperFaceTrackerModel(HubMixin, PreTrainedModel):
    """A detector for whole pictures, a landmark regressor for upright face crops and refiners for eyes, mouth and brows.

    ``find_faces`` runs all of them. ``follow`` runs the regressor on a crop that follows the face, and the refiners;
    the detector runs only where the face is lost.
    """

    config_class = SuperFaceTrackerConfig
    config: SuperFaceTrackerConfig
    main_input_name = "pixel_values"

    def __init__(self, config: SuperFaceTrackerConfig) -> None:
        super().__init__(config)
        self.detector = FaceDetector(config)
        self.regressor = LandmarkRegressor(config)
        self.eyes = CropRefiner.of_eye(config)
        self.mouth = CropRefiner.of_mouth(config)
        self.brows = CropRefiner.of_brows(config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out")
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, std=0.01)
            init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            assert module.running_mean is not None
            assert module.running_var is not None
            init.zeros_(module.running_mean)
            init.ones_(module.running_var)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Return landmarks and face logits of upright face crops, without the refiners, which need the whole picture's
        pixels.

        Args:
            pixel_values: (B, 3, crop_size, crop_size) in [-1, 1].

        Returns:
            (B, 478, 3) in crop units and (B,) logits.
        """
        return self.regressor(pixel_values.contiguous(memory_format=torch.channels_last))

    def find_faces(self, image: np.ndarray) -> list[Face]:
        """Return the faces of a picture, ordered by rank (:attr:`Face.rank`), then by size; an empty list where there
        is none.

        Faces of any roll are found: if no face is clear, the picture is also searched on its sides and upside down.

        Args:
            image: (H, W, 3) uint8 RGB of any size.

        Raises:
            ValueError: the array has another shape or type.
        """
        return self.find_faces_batch([image])[0]

    @torch.inference_mode()
    def find_faces_batch(self, images: list[np.ndarray]) -> list[list[Face]]:
        """Return the result of ``find_faces`` for several pictures, which may differ in size, with one run of each
        network."""
        found = self._find(images)
        owners = [image for image, faces in zip(images, found, strict=True) for _ in faces]
        seen = iter(self._look_closer(owners, [face for faces in found for face, _ in faces]))
        return [[next(seen) for _ in faces] for faces in found]

    @torch.inference_mode()
    def follow(self, frames: Iterable[np.ndarray]) -> Iterator[Face | None]:
        """Yield the main face of every frame: the largest of the first frame that has one, followed as it moves.

        Nothing is smoothed. A lost face is searched in the whole frame; a face near its last position is preferred.

        Args:
            frames: (H, W, 3) uint8 RGB each; taken one at a time.

        Returns:
            One item a frame, None where no face is seen.

        Raises:
            ValueError: a frame has another shape or type.
        """
        crop: FaceCrop | None = None
        last: Face | None = None
        for frame in frames:
            check_picture(frame)
            face = None
            if crop is not None:
                face, crop = self._step(frame, crop)
            if face is None:
                found = self._find([frame])[0]
                face, crop = same_face(found, last) if found else (None, None)
            last = face or last
            yield face and self._look_closer([frame], [face])[0]

    def _step(self, frame: np.ndarray, crop: FaceCrop) -> tuple[Face | None, FaceCrop | None]:
        """Return the face in the last frame's crop, and the crop for the next frame; None, None where the face is lost."""
        face = self._regress([frame], [crop])[0]
        new = FaceCrop.around(face.landmarks, self.config.crop_margin)
        if face.score >= self.config.track_threshold / 2 and crop.differs(new, FAST * self.config.track_tolerance):
            crop = new
            face = self._regress([frame], [crop])[0]
            new = FaceCrop.around(face.landmarks, self.config.crop_margin)
        if face.score < self.config.track_threshold:
            return None, None
        return face, new if crop.differs(new, self.config.track_tolerance) else crop

    def _find(self, images: list[np.ndarray]) -> list[list[tuple[Face, FaceCrop]]]:
        """Return each picture's faces, in the order of :meth:`find_faces`, with the crop in which each was measured."""
        if not images:
            return []
        for image in images:
            check_picture(image)
        squares, scales = zip(*(letterbox(image, self.config.detector_size) for image in images), strict=True)
        faces = self._look(images, squares, scales, [0] * len(images))
        # A mesh that lies across a rolled face may just be certain, too.
        unsure = [index for index, found in enumerate(faces) if all(face.score < CLEAR for face, _ in found)]
        if unsure:
            least = {i: CLEAR if any(face.certain for face, _ in faces[i]) else CERTAIN for i in unsure}
            turned = [(index, quarters) for index in unsure for quarters in (1, 2, 3)]
            again = self._look(
                [images[index] for index, _ in turned],
                [squares[index] for index, _ in turned],
                [scales[index] for index, _ in turned],
                [quarters for _, quarters in turned],
            )
            for (index, _), found in zip(turned, again, strict=True):
                faces[index] += [item for item in found if item[0].score >= least[index]]
        ordered = [distinct(found) for found in faces]
        again = [self._doubted(image, found) for image, found in zip(images, ordered, strict=True)]
        return [found[: self.config.max_faces] for found in again]

    def _doubted(self, image: np.ndarray, found: list[tuple[Face, FaceCrop]]) -> list[tuple[Face, FaceCrop]]:
        """Return a picture's faces in order, those behind the others that come before the detector's surest face and are
        none when it looks at them alone: knobs, doors and lamps may be large and as certain as a person beside them."""
        clear = [face for face, _ in found if face.rank == 2]
        surest = max(clear, key=lambda face: face.detected, default=None)
        if surest is None or surest is clear[0]:
            return found
        least = self.seen_alone(image, surest) - LESS
        larger = clear[: clear.index(surest)]
        wrong = [face for face in larger if self.seen_alone(image, face) < (least if face.detected < WEAK else UPRIGHT)]
        if not wrong:
            return found
        lowered = [(replace(face, detected=0.0), crop) if face in wrong else (face, crop) for face, crop in found]
        return in_order(lowered)

    def _look(
        self,
        images: Sequence[np.ndarray],
        squares: Sequence[np.ndarray],
        scales: Sequence[float],
        quarters: Sequence[int],
    ) -> list[list[tuple[Face, FaceCrop]]]:
        """Return each picture's faces, detected in its square after ``quarters`` quarter turns."""
        turned = [
            np.ascontiguousarray(np.rot90(square, turns)) for square, turns in zip(squares, quarters, strict=True)
        ]
        pixels = pixels_of(turned, self.detector.heatmap.weight)
        logits, geometry = self.detector(pixels.contiguous(memory_format=torch.channels_last))
        places = read_maps(logits, geometry, self.config.detection_threshold, 2 * self.config.max_faces)
        owners, crops, scores = [], [], []
        for owner, (found, scale, turns) in enumerate(zip(places, scales, quarters, strict=True)):
            for detection in found:
                crop = detection.crop.turned_back(turns, self.config.detector_size)
                size = crop.size * self.config.crop_margin / scale
                crops.append(FaceCrop(crop.x / scale, crop.y / scale, size, crop.angle))
                owners.append(owner)
                scores.append(detection.score)
        faces: list[list[tuple[Face, FaceCrop]]] = [[] for _ in images]
        refined = self._refine([images[owner] for owner in owners], crops)
        for owner, seen, score, (face, crop) in zip(owners, crops, scores, refined, strict=True):
            if face.score < self.config.face_threshold:
                continue
            roll = abs(math.remainder(face_roll(face.landmarks) - seen.angle, math.tau))
            if roll <= CONTRADICTION or (face.certain and self.seen_alone(images[owner], face) >= UPRIGHT):
                faces[owner].append((replace(face, detected=score), crop))
        return faces

    @torch.inference_mode()
    def seen_alone(self, image: np.ndarray, face: Face) -> float:
        """Return the detector's score, in [0, 1], of a face alone: in the picture around it, rotated as the face is. It is
        0 where the detector sees none, or one that is larger, smaller or rolled.

        Args:
            image: (H, W, 3) uint8 RGB; face: one that was found in it.
        """
        side = self.config.detector_size
        square = FaceCrop.around(face.landmarks, AROUND).cut(image, side)
        pixels = pixels_of([square], self.detector.heatmap.weight)
        logits, geometry = self.detector(pixels.contiguous(memory_format=torch.channels_last))
        size = side / AROUND
        scores = [
            found.score
            for found in read_maps(logits, geometry, self.config.detection_threshold, self.config.max_faces)[0]
            if math.hypot(found.crop.x - side / 2, found.crop.y - side / 2) < size / 4
            and abs(math.log(found.crop.size / size)) < math.log(1.6)
            and abs(math.remainder(found.crop.angle, math.tau)) <= CONTRADICTION
        ]
        return max(scores, default=0.0)

    def _refine(self, images: list[np.ndarray], crops: list[FaceCrop]) -> list[tuple[Face, FaceCrop]]:
        """Refine crops that are only roughly in place; return their faces with the crops that fit them."""
        faces = self._regress(images, crops)
        for _ in range(REFINEMENTS):
            new = [FaceCrop.around(face.landmarks, self.config.crop_margin) for face in faces]
            loose = [
                index
                for index, (crop, other) in enumerate(zip(crops, new, strict=True))
                if crop.differs(other, self.config.track_tolerance / 2)
            ]
            crops = [new[index] if index in loose else crop for index, crop in enumerate(crops)]
            again = self._regress([images[index] for index in loose], [crops[index] for index in loose])
            for index, face in zip(loose, again, strict=True):
                faces[index] = face
        return list(zip(faces, crops, strict=True))

    def _regress(self, images: list[np.ndarray], crops: list[FaceCrop]) -> list[Face]:
        """Return the regressor's mesh in each crop, whether it shows a face or not."""
        if not crops:
            return []
        size = self.config.crop_size
        cuts = [crop.cut(image, size) for image, crop in zip(images, crops, strict=True)]
        points, logits = self(pixels_of(cuts, self.regressor.face.weight))
        scores = logits.float().sigmoid().cpu().numpy()
        return [
            Face.of(crop.to_picture(mesh), score)
            for crop, mesh, score in zip(crops, points.float().cpu().numpy(), scores, strict=True)
        ]

    def _look_closer(self, images: list[np.ndarray], faces: list[Face]) -> list[Face]:
        """Return the faces with refined eyes, mouth and brows. Crops follow the regressor's mesh, not this one."""
        if not faces:
            return []
        meshes = self._with_eyes(images, faces)
        for region, refiner, side in (
            (MOUTH, self.mouth, self.config.mouth_size),
            (BROWS, self.brows, self.config.brow_size),
        ):
            crops = [region.crop(face.landmarks) for face in faces]
            seen = _seen(refiner, [region.cut(image, crop, side) for image, crop in zip(images, crops, strict=True)])
            meshes = [region.merged(*each) for each in zip(meshes, crops, seen, strict=True)]
        return [Face.of(mesh, face.score, face.detected) for mesh, face in zip(meshes, faces, strict=True)]

    def _with_eyes(self, images: list[np.ndarray], faces: list[Face]) -> list[np.ndarray]:
        """Return the meshes (478, 3) with refined eyes."""
        places = [eye_crops(face.landmarks) for face in faces]
        cuts = [
            cut_eye(image, crop, left, self.config.eye_size)
            for image, own in zip(images, places, strict=True)
            for left, crop in zip((False, True), own, strict=True)
        ]
        seen = _seen(self.eyes, cuts).reshape(len(faces), 2, -1, 3)
        return [
            with_eyes(face.landmarks, *each) for face, each in zip(faces, zip(places, seen, strict=True), strict=True)
        ]


def _seen(refiner: CropRefiner, cuts: list[np.ndarray]) -> np.ndarray:
    """Return the refiner's points (B, P, 3) in crops."""
    return refiner(pixels_of(cuts, refiner.shape.weight)).float().cpu().numpy()
