"""Made-up pictures for the detector: portraits and video frames pasted on other pictures, at any size and roll.

Some show, behind the people or alone, what is placed like a face and is none (``lookalikes``).
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ...media import open_picture
from ...models.tracker.crops import FaceCrop
from ...models.tracker.detection import FILL
from .crops import Source, sampling_weights
from .lookalikes import draw_lookalike, surface

# Faces in a scene, over the shorter side of its picture.
SMALLEST, LARGEST = 0.08, 1.15


class SceneMaker:
    """Composes square training pictures with known faces.

    Args:
        sources: pictures to paste, each domain by its share of ``shares``.
        faceless: pictures to paste them on, (H, W, 3) uint8.
        size: side of a scene in pixels.
        lookalikes: share of the scenes that show what is placed like a face and is none.
    """

    def __init__(
        self, sources: list[Source], faceless: list[np.ndarray], shares: dict[str, float], size: int, seed: int,
        lookalikes: float = 0.0,
    ) -> None:  # fmt: skip
        self.sources = [source for source in sources if len(source.faces)]
        self.weights = sampling_weights([s.domain for s in self.sources], [s.person for s in self.sources], shares)
        self.faceless = faceless
        self.size = size
        self.lookalikes = lookalikes
        self.random = np.random.default_rng(seed)

    def __call__(self) -> tuple[np.ndarray, list[FaceCrop]]:
        """Return a (size, size, 3) uint8 scene, letterboxed as at inference, and its faces as crops of margin 1 in pixels."""
        aspect = math.exp(float(self.random.uniform(-1, 1)) * math.log(1.8))
        width, height = (round(self.size * min(1.0, ratio)) for ratio in (aspect, 1 / aspect))
        scene = self._background(width, height)
        if self.lookalikes and self.random.random() < self.lookalikes:
            scene = self._with_lookalikes(scene)
        faces: list[FaceCrop] = []
        count = int(self.random.choice([0, 1, 2, 3, 4, 5], p=[0.08, 0.5, 0.16, 0.12, 0.08, 0.06]))
        for _ in range(count):
            self._paste(scene, faces, crowd=count > 2)
        square = np.full((self.size, self.size, 3), FILL, np.uint8)
        square[:height, :width] = np.asarray(scene)
        return square, [face for face in faces if 0 <= face.x < width and 0 <= face.y < height]

    def _background(self, width: int, height: int) -> Image.Image:
        draw = self.random.random()
        if draw < 0.15:
            return Image.new("RGB", (width, height), tuple(int(v) for v in self.random.integers(0, 256, 3)))
        picture = self.faceless[int(self.random.integers(len(self.faceless)))]
        side = float(self.random.uniform(0.25, 1.0)) * min(picture.shape[0] / height, picture.shape[1] / width)
        w, h = max(2, int(width * side)), max(2, int(height * side))
        x, y = (int(self.random.integers(0, free + 1)) for free in (picture.shape[1] - w, picture.shape[0] - h))
        return Image.fromarray(picture[y : y + h, x : x + w]).resize((width, height), Image.Resampling.BILINEAR)

    def _with_lookalikes(self, background: Image.Image) -> Image.Image:
        """Draw one to three lookalikes, mostly on a plain ground."""
        width, height = background.size
        plain = self.random.random() < 0.7
        pixels = surface(self.random, height, width) if plain else np.array(background)
        for _ in range(int(self.random.integers(1, 4))):
            draw_lookalike(pixels, self.random)
        return Image.fromarray(pixels)

    def _paste(self, scene: Image.Image, faces: list[FaceCrop], crowd: bool) -> None:
        """Paste a source's whole picture or the surroundings of its face, where that hides no other face."""
        source = self.sources[int(self.random.choice(len(self.sources), p=self.weights))]
        with open_picture(source.jpeg) as encoded:
            self._paste_from(encoded, source, scene, faces, crowd)

    def _paste_from(
        self, encoded: Image.Image, source: Source, scene: Image.Image, faces: list[FaceCrop], crowd: bool
    ) -> None:
        original = encoded.size
        own = [FaceCrop.around(landmarks, 1.0) for landmarks in source.faces]
        main = own[int(self.random.integers(len(own)))]
        shorter = min(scene.size)
        largest = 0.4 if crowd else LARGEST
        side = shorter * math.exp(float(self.random.uniform(math.log(SMALLEST), math.log(largest))))
        zoom = side / main.size
        encoded.draft("RGB", (max(1, int(original[0] * zoom)), max(1, int(original[1] * zoom))))
        picture = encoded.convert("RGB")
        factor = max(1, int(picture.size[0] / original[0] / zoom))
        if factor > 1:
            picture = picture.reduce(factor)
        shrink = picture.size[0] / original[0]
        roll = float(self.random.uniform(-1, 1)) * math.pi / 4
        if self.random.random() < 0.6:
            roll = float(self.random.normal()) * 0.14
        x = float(
            self.random.uniform(min(side / 2, scene.size[0] / 2), max(scene.size[0] - side / 2, scene.size[0] / 2))
        )
        y = float(
            self.random.uniform(min(side / 2, scene.size[1] / 2), max(scene.size[1] - side / 2, scene.size[1] / 2))
        )
        # The scene's pixel p shows the source's pixel main + R(-turn) (p - (x, y)) / zoom.
        turn = roll - main.angle
        cos, sin = math.cos(turn), math.sin(turn)
        placed = []
        for face in own:
            dx, dy = (face.x - main.x) * zoom, (face.y - main.y) * zoom
            placed.append(
                FaceCrop(x + cos * dx - sin * dy, y + sin * dx + cos * dy, face.size * zoom, face.angle + turn)
            )
        mask = Image.new("L", picture.size, 255)
        if self.random.random() < 0.5 and len(own) == 1:
            # Only the head and some of its surroundings, with a soft edge.
            mask = Image.new("L", picture.size, 0)
            reach = main.size * shrink * float(self.random.uniform(0.65, 1.1))
            cx, cy = main.x * shrink, main.y * shrink
            ImageDraw.Draw(mask).ellipse((cx - reach, cy - reach * 1.2, cx + reach, cy + reach * 1.2), fill=255)
            mask = mask.filter(ImageFilter.GaussianBlur(reach * 0.06))
        k = shrink / zoom
        a, b, d, e = k * cos, k * sin, -k * sin, k * cos
        matrix = (a, b, main.x * shrink - a * x - b * y, d, e, main.y * shrink - d * x - e * y)
        mask = mask.transform(scene.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        covered = np.asarray(mask) > 40
        for face in faces:
            half = face.size * 0.6
            part = covered[
                max(int(face.y - half), 0) : int(face.y + half), max(int(face.x - half), 0) : int(face.x + half)
            ]
            if part.size == 0 or part.mean() > 0.12:
                return
        layer = picture.transform(scene.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        scene.paste(layer, (0, 0), mask)
        faces += placed
