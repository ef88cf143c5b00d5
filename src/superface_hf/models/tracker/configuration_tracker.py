"""Configuration of the face tracker."""

from __future__ import annotations

from typing import ClassVar

from huggingface_hub.dataclasses import strict

from ..configuration import Bounds, SuperFaceConfig


@strict
class SuperFaceTrackerConfig(SuperFaceConfig):
    """The configuration of the tracker: the sizes of its networks, and its thresholds.

    Args:
        detector_size: side in pixels of the square that a picture is fitted into for detection; a larger one finds
            smaller faces, and costs time by its square.
        detector_stages: stages of EfficientNet-Lite0 in the detector.
        detector_channels: width of the detector's feature maps.
        crop_size: side in pixels of the upright face crop whose landmarks are regressed.
        crop_margin: side of that crop over the face's longer side.
        landmark_stages: stages of EfficientNet-Lite0 in the landmark regressor, at least 6.
        landmark_coefficients: size of the bottleneck before the mesh, whose last layer starts as a shape basis.
        num_landmarks: points of the mesh.
        eye_size: side in pixels of the square around an eye, of which the eye refiner sees three quarters in height.
        eye_coefficients: size of that network's bottleneck, as ``landmark_coefficients``.
        mouth_size: side in pixels of the square around the mouth that the mouth refiner sees.
        mouth_coefficients: size of that network's bottleneck, as ``landmark_coefficients``.
        brow_size: side in pixels of the square around both brows, of which the brow refiner sees half in height.
        brow_coefficients: size of that network's bottleneck, as ``landmark_coefficients``.
        detection_threshold: the regressor checks candidates with a detector's score above this. It is low, because the
            regressor is far more reliable.
        face_threshold: a face is reported if the regressor's score is above this; faces mostly reach 0.99.
        track_threshold: a followed face is lost below this score.
        track_tolerance: share of the crop's side by which a face may move before the crop follows it. A still face keeps
            its crop, so identical frames give identical landmarks.
        max_faces: the most faces reported in one picture.
    """

    model_type = "superface_tracker"
    bounds: ClassVar[Bounds] = {
        "detector_size": (32, 1280),
        "detector_stages": (5, 7),
        "detector_channels": (1, 512),
        "crop_size": (32, 512),
        "crop_margin": (1, 4),
        "landmark_stages": (6, 7),
        "landmark_coefficients": (1, 4096),
        "num_landmarks": (478, 478),
        "eye_size": (32, 256),
        "eye_coefficients": (1, 1024),
        "mouth_size": (32, 256),
        "mouth_coefficients": (1, 1024),
        "brow_size": (32, 256),
        "brow_coefficients": (1, 1024),
        "detection_threshold": (0, 1),
        "face_threshold": (0, 1),
        "track_threshold": (0, 1),
        "track_tolerance": (0, 1),
        "max_faces": (1, 256),
    }

    detector_size: int = 320
    detector_stages: int = 5
    detector_channels: int = 64
    crop_size: int = 128
    crop_margin: float = 1.3
    landmark_stages: int = 6
    landmark_coefficients: int = 256
    num_landmarks: int = 478
    eye_size: int = 64
    eye_coefficients: int = 64
    mouth_size: int = 96
    mouth_coefficients: int = 96
    brow_size: int = 128
    brow_coefficients: int = 96
    detection_threshold: float = 0.15
    face_threshold: float = 0.97
    track_threshold: float = 0.5
    track_tolerance: float = 0.04
    max_faces: int = 16

    def validate_architecture(self) -> None:
        """Refuse sizes that the networks cannot process: the detector joins strides 8 and 16, the regressor 16 and 32."""
        super().validate_architecture()
        # The backbone's stride is 32; three quarters of an eye's square, a mouth's, and half of the brows' are
        # halved three times.
        self.check_multiples(32, "detector_size", "crop_size", "eye_size")
        self.check_multiples(8, "mouth_size")
        self.check_multiples(16, "brow_size")
