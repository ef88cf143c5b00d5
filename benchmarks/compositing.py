"""Measure the cost of moving a person in a picture, and the sharpness that remains: ``python benchmarks/compositing.py``.

Prints, on one core: milliseconds of each sampler for as many pixels; sharpness that each leaves of a texture moved by parts of
a pixel; and milliseconds a frame of warp and compositing (without the renderer) for pictures of several sizes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from superface_hf.face_model.coordinates import Square
from superface_hf.face_model.linear import FaceModel
from superface_hf.layers.compositing import Compositor
from superface_hf.layers.motion import Window
from superface_hf.layers.portrait import PortraitLayers
from superface_hf.layers.rendered import RenderedWindow
from superface_hf.layers.sampling import Texture
from superface_hf.layers.untrained import UntrainedLayers

SIZE = 512  # of the renderer
PICTURES = {"512 x 512": (512, 512, 0.32), "1920 x 1080": (1080, 1920, 0.28), "3840 x 2160": (2160, 3840, 0.28)}


def milliseconds(work: Callable[[], object], rounds: int) -> float:
    """Return the shortest processor time of this thread in ms; other programs may be running."""
    work()
    best = np.inf
    for _ in range(rounds):
        started = time.thread_time()
        work()
        best = min(best, time.thread_time() - started)
    return 1000 * best


def picture_of(height: int, width: int) -> np.ndarray:
    """Return a texture with the spectrum of skin and hair: more low frequencies than high ones."""
    rng = np.random.default_rng(0)
    layers = [cv2.resize(rng.normal(size=(height // s + 1, width // s + 1, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
              for s in (2, 4, 8, 32)]  # fmt: skip
    return np.clip(128 + 18 * np.sum(layers, axis=0), 0, 255).astype(np.uint8)


def laplacian(picture: np.ndarray) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_64F)[16:-16, 16:-16].var())


def samplers(side: int, rounds: int) -> None:
    picture = picture_of(side, side)
    alpha = np.full((side, side), 255, np.uint8)
    layers = PortraitLayers(picture, (slice(0, side), slice(0, side)), picture, alpha, picture)
    texture = Texture.of(layers, 2)
    rgba = np.dstack([picture, alpha])
    floats = torch.from_numpy(rgba).permute(2, 0, 1)[None].float()
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) + 0.5

    def grid(places: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(places * (2 / side) - 1)[None]

    def onnx() -> Callable[[np.ndarray], np.ndarray]:
        import io

        import onnxruntime

        file = io.BytesIO()
        example = (floats, grid(np.dstack([x, y])))
        torch.onnx.export(_Sample(), example, file, opset_version=20, dynamo=False)  # type: ignore[arg-type]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_inputs()]
        pixels = floats.numpy()
        return lambda places: session.run(None, {names[0]: pixels, names[1]: grid(places).numpy()})[0]

    def by_remap(how: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda places: cv2.remap(  # type: ignore[call-overload]
            rgba, places - 0.5, None, how, borderMode=cv2.BORDER_REPLICATE
        )

    ways: dict[str, Callable[[np.ndarray], object]] = {
        "remap, linear": by_remap(cv2.INTER_LINEAR),
        "remap, cubic": by_remap(cv2.INTER_CUBIC),
        "remap, Lanczos": by_remap(cv2.INTER_LANCZOS4),
        "remap, linear, twice as fine (chosen)": texture.sample,
        "torch, bilinear": lambda places: F.grid_sample(
            floats, grid(places), padding_mode="border", align_corners=False
        ),
        "torch, bicubic": lambda places: F.grid_sample(
            floats, grid(places), mode="bicubic", padding_mode="border", align_corners=False
        ),
        "onnxruntime, linear": onnx(),
    }
    places = np.dstack([x + 1.3 * np.sin(y / 90), y + 1.2 * np.cos(x / 70)]).astype(np.float32)
    print(f"{side} x {side} pixels, RGBA")
    for name, way in ways.items():
        # The layers' places enter the texture while they are few.
        enter = texture.entered if way == texture.sample else np.asarray
        entered = enter(places)
        ratios: list[float] = []
        for shift in (0.125, 0.25, 0.5, 0.75):
            found = way(enter(np.dstack([x + shift, y + shift / 2]).astype(np.float32)))
            ratios.append(laplacian(_rgb(found)) / laplacian(picture))
        print(f"  {name:40}{milliseconds(lambda way=way, entered=entered: way(entered), rounds):8.2f} ms   "  # type: ignore[misc]
              f"sharpness {np.mean(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip


class _Sample(torch.nn.Module):
    def forward(self, pixels: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def _rgb(found: Any) -> np.ndarray:
    if isinstance(found, tuple):
        found = found[0]
    if isinstance(found, torch.Tensor):
        found = found.numpy()
    assert isinstance(found, np.ndarray)
    if found.ndim == 4:
        found = np.clip(found[0].transpose(1, 2, 0) + 0.5, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(found[..., :3])


def compositing(name: str, rounds: int) -> None:
    height, width, share = PICTURES[name]
    points = FaceModel.default().mean.numpy() * (share * height / 1.6) + np.array([width / 2, 0.5 * height, 0])
    points = points.astype(np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    size = share * height / 1.6
    x, y = (x - width / 2) / size, (y - height / 2) / size
    person = np.maximum(1.5 - np.hypot(x, 0.8 * y), np.minimum(2.6 - np.abs(x), y - 1.6)) * size / 4
    picture = picture_of(height, width)
    alpha = np.clip(person + 0.5, 0, 1)
    hidden = cv2.dilate((alpha > 0).astype(np.uint8), np.ones((9, 9)))[..., None] > 0
    layers = PortraitLayers.of(picture, alpha, picture, np.where(hidden, picture[::-1], picture))
    crop = Square.around_face(points)
    own = crop.to_image(points)
    began = time.thread_time()
    compositor = Compositor(layers, crop, own)
    made = 1000 * (time.thread_time() - began)
    driving = torch.from_numpy(crop.to_image(points + np.array([0.1 * size, 0.05 * size, 0], np.float32)))[None]
    window = Window.following(crop, torch.from_numpy(own), driving)
    renderer = UntrainedLayers()
    plain = renderer.render(
        renderer.prepare(*layers.source(crop, SIZE), torch.from_numpy(own)[None]), driving, window
    ).rendered
    light = 0.02 * torch.ones_like(plain.paint)
    rendered = RenderedWindow(window, plain.flow, 0.97 * plain.keep, light, 0.1 * plain.keep)
    plan = compositor._plans(rendered, driving)[0]
    rect = plan.rect
    planned = milliseconds(lambda: compositor._plans(rendered, driving), rounds)
    composed = milliseconds(lambda: compositor._drawing(plan), rounds)
    print(
        f"{name}, person's box {rect[1].stop - rect[1].start} x {rect[0].stop - rect[0].start}: "
        f"warp and compositing {composed:.1f} ms; "
        f"flow of the stage {planned:.1f} ms; made ready in {made:.0f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with torch.inference_mode():
        for side in (512, 1080):
            samplers(side, options.rounds)
        for name in PICTURES:
            compositing(name, options.rounds)


if __name__ == "__main__":
    main()
