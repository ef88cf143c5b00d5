"""What the compositor promises: the person moves, at the picture's own resolution, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import FACE_AT, FACE_SIZE, HEIGHT, WIDTH

from superface_hf.face_model.coordinates import STILL_GROWTH, STILL_SHIFT, Square
from superface_hf.layers.compositing import Compositor
from superface_hf.layers.motion import Window
from superface_hf.layers.portrait import PortraitLayers, cut_out
from superface_hf.layers.rendered import RenderedWindow
from superface_hf.layers.untrained import UntrainedLayers

SHELF = (10, 20, 200)


def person_in(height: int, width: int, at: tuple[float, float], size: float) -> np.ndarray:
    """A matte (H, W) float32: head, and a torso to the lower border, with outlines two pixels soft."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    x, y = (x - at[0]) / size, (y - at[1]) / size
    head = 1.3 - np.hypot(x, 0.8 * y)
    torso = np.minimum(1.6 - np.abs(x), y - 1.5)
    return np.clip(np.maximum(head, torso) * size / 2 + 0.5, 0, 1).astype(np.float32)


def layers_of(picture: np.ndarray, at: tuple[float, float] = FACE_AT, size: float = FACE_SIZE) -> PortraitLayers:
    """Layers that are known exactly: the plate is the picture with shelves everywhere."""
    alpha = person_in(*picture.shape[:2], at, size)
    shelves = shelved(*picture.shape[:2])
    plate = np.where(alpha[..., None] > 0, shelves, picture)
    return PortraitLayers.of(picture, alpha, picture, plate)


def shelved(height: int, width: int) -> np.ndarray:
    wall = np.full((height, width, 3), 235, np.uint8)
    wall[::12] = wall[1::12] = SHELF
    return wall


@pytest.fixture
def room(scene) -> np.ndarray:
    """Somebody of waves before a wall with shelves."""
    alpha = person_in(HEIGHT, WIDTH, FACE_AT, FACE_SIZE)[..., None]
    return (alpha * scene + (1 - alpha) * shelved(HEIGHT, WIDTH) + 0.5).astype(np.uint8)


class Stage:
    """A portrait under the untrained layers."""

    def __init__(self, layers: PortraitLayers, points: np.ndarray, size: int = 128) -> None:
        self.crop = Square.around_face(points)
        self.own = self.crop.to_image(points)
        self.compositor = Compositor(layers, self.crop, self.own)
        self.renderer = UntrainedLayers()
        source, matte = layers.source(self.crop, size)
        self.prepared = self.renderer.prepare(source, matte, torch.from_numpy(self.own)[None])

    def rendered(self, points: np.ndarray) -> tuple[RenderedWindow, torch.Tensor]:
        driving = torch.from_numpy(self.crop.to_image(points))[None]
        window = Window.following(self.crop, torch.from_numpy(self.own), driving)
        return self.renderer.render(self.prepared, driving, window).rendered, driving

    def __call__(self, points: np.ndarray, **options) -> np.ndarray:
        return self.compositor(*self.rendered(points), **options)[0]


def rolled(points: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = points[:, :2].mean(0)
    return np.concatenate([(points[:, :2] - middle) @ turn.T + middle, points[:, 2:]], axis=1).astype(np.float32)


MOVED = {
    "a little": lambda points: points + np.float32([6.3, -4.6, 0]),
    "far": lambda points: points + np.float32([70, 10, 0]),
    "rolled": lambda points: rolled(points, 45),
    "out": lambda points: points + np.float32([400, 0, 0]),
}


@pytest.mark.parametrize("moved", MOVED.values(), ids=MOVED)
def test_shelves_behind_the_head_stay_straight_and_equal(room, face_points, moved):
    """Where neither the picture nor the frame shows the person every pixel is the picture's; elsewhere the plate's."""
    stage = Stage(layers_of(room), face_points())
    frame, alpha = stage(moved(face_points())), stage(moved(face_points()), transparent=True)[..., 3]
    before = person_in(HEIGHT, WIDTH, FACE_AT, FACE_SIZE)
    nobody = (before == 0) & (alpha == 0)
    assert nobody.mean() > 0.15
    assert (frame[nobody] == room[nobody]).all()
    uncovered = (before == 1) & (alpha == 0)
    assert uncovered.any()
    # The plate of this test is shelves everywhere; what is half still may show a trace of the picture.
    assert (frame[uncovered] == shelved(HEIGHT, WIDTH)[uncovered]).all()


def test_a_person_at_rest_is_the_picture_itself(room, face_points):
    assert (Stage(layers_of(room), face_points())(face_points()) == room).all()


@pytest.mark.parametrize(
    ("height", "width", "at", "size"),
    [(HEIGHT, WIDTH, FACE_AT, FACE_SIZE), (720, 1280, (300.0, 500.0), 26.0), (900, 700, (350.0, 380.0), 190.0)],
    ids=["as large as the crop", "small in a large picture", "larger than the crop"],
)
def test_a_moved_person_is_the_picture_moved(face_points, height, width, at, size):
    """Whatever the resolution: a head that goes 8 pixels to the right takes its pixels along."""
    rng = np.random.default_rng(0)
    picture = rng.integers(60, 190, (height, width, 3)).astype(np.uint8)
    points = face_points(*at, size)
    frame = Stage(layers_of(picture, at, size), points)(points + np.float32([8, 0, 0]))
    x, y, reach = int(at[0]), int(at[1]), int(0.6 * size)
    there = frame[y - reach : y, x - reach : x + reach].astype(int)
    here = picture[y - reach : y, x - reach - 8 : x + reach - 8].astype(int)
    assert np.abs(there - here).mean() < 4


def test_a_moved_person_stays_sharp(face_points):
    """Half a pixel to the side, and turned a little: texture keeps 0.9 to 1.1 of its Laplacian's variance."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.normal(size=(1, 3, 150, 200))).float()
    texture = torch.nn.functional.interpolate(coarse, size=(600, 800), mode="bicubic")[0].permute(1, 2, 0).numpy()
    picture = np.clip(128 + 45 * texture, 0, 255).astype(np.uint8)
    at, size = (400.0, 280.0), 130.0
    points = face_points(*at, size)
    stage = Stage(layers_of(picture, at, size), points)
    inside = (slice(200, 330), slice(330, 470))

    def laplacian(frame: np.ndarray) -> float:
        grey = frame.astype(float).mean(2)
        around = grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1]
        return float((around - 4 * grey[1:-1, 1:-1])[inside].var())

    for moved in (points + np.float32([0.5, 0.5, 0]), points + np.float32([3.3, 1.7, 0]), rolled(points, 7)):
        assert 0.9 < laplacian(stage(moved)) / laplacian(picture) < 1.1


def test_a_person_cut_by_the_border_goes_on_beyond_it(room, face_points):
    """A head that moves up takes its torso along: no gap opens at the picture's lower border."""
    alpha = Stage(layers_of(room), face_points())(face_points() - np.float32([0, 40, 0]), transparent=True)[..., 3]
    middle = slice(int(FACE_AT[0]) - 40, int(FACE_AT[0]) + 40)
    assert (alpha[-1, middle] == 255).all()


def test_what_the_renderer_paints_is_laid_on_the_person_only_in_its_window(room, face_points):
    stage = Stage(layers_of(room), face_points())
    moved = face_points() + np.float32([10, 5, 0])
    rendered, driving = stage.rendered(moved)
    plain = stage.compositor(rendered, driving)[0]
    red = torch.zeros_like(rendered.paint)
    red[:, 0, 48:80, 48:80] = 1.0
    keep = torch.ones_like(rendered.keep)
    keep[:, :, 48:80, 48:80] = 0
    painted = RenderedWindow(rendered.window, rendered.flow, keep, red, rendered.alpha_change)
    frame = stage.compositor(painted, driving)[0]
    square = rendered.window.squares(stage.crop)[0]
    middle = np.array([square.left, square.top]) + square.side / 2
    changed = np.argwhere((frame != plain).any(2))[:, ::-1] + 0.5
    assert (frame[int(middle[1]), int(middle[0])] == [255, 0, 0]).all()
    assert np.abs(changed - middle).max() < 0.15 * square.side


def test_the_matte_may_be_changed_inside_of_the_window_and_not_at_its_border(room, face_points):
    stage = Stage(layers_of(room), face_points())
    rendered, driving = stage.rendered(face_points())
    nobody = RenderedWindow(
        rendered.window, rendered.flow, rendered.keep, rendered.paint, torch.full_like(rendered.alpha_change, -1.0)
    )
    before = stage.compositor(rendered, driving, transparent=True)[0][..., 3].astype(int)
    after = stage.compositor(nobody, driving, transparent=True)[0][..., 3].astype(int)
    square = rendered.window.squares(stage.crop)[0]
    top, left, side = int(square.top), int(square.left), int(square.side)
    assert after[int(FACE_AT[1]), int(FACE_AT[0])] == 0
    outside = np.ones_like(after, bool)
    outside[max(0, top) : top + side, max(0, left) : left + side] = False
    assert (after[outside] == before[outside]).all()


def test_frames_of_a_batch_are_those_of_each_alone(room, face_points):
    stage = Stage(layers_of(room), face_points())
    places = [face_points() + np.float32([shift, 0, 0]) for shift in (0, 9, 60)]
    driving = torch.from_numpy(np.stack([stage.crop.to_image(points) for points in places]))
    window = Window.following(stage.crop, torch.from_numpy(stage.own), driving)
    together = stage.compositor(stage.renderer.render(stage.prepared, driving, window).rendered, driving)
    for frame, points in zip(together, places, strict=True):
        assert np.abs(frame.astype(int) - stage(points)).max() <= 1


def test_what_a_renderer_restored_is_added_at_the_pictures_resolution(face_points):
    rng = np.random.default_rng(0)
    picture = rng.integers(60, 190, (600, 800, 3)).astype(np.uint8)
    at, size = (400.0, 300.0), 150.0
    layers, crop = layers_of(picture, at, size), Square.around_face(face_points(*at, size))
    source = cut_out(picture, crop, 128)
    assert layers.with_restored(crop, source, source + 1e-4).restored is None
    restored = layers.with_restored(crop, source, source + 0.1).restored
    place = (int(at[1]) - layers.box[0].start, int(at[0]) - layers.box[1].start)
    assert restored[place] == pytest.approx(25.5, abs=1)
    points = face_points(*at, size)
    frame = Stage(layers.with_restored(crop, source, source + 0.1), points)(points)
    assert frame[int(at[1]), int(at[0])].astype(int) - picture[int(at[1]), int(at[0])] == pytest.approx(25.5, abs=1)


def test_a_window_stays_while_the_face_moves_little_and_then_follows_on_whole_pixels(face_points):
    crop = Square.around_face(face_points())
    own, near, far = (
        crop.to_image(points)
        for points in (
            face_points(),
            face_points(FACE_AT[0] + 0.06 * crop.side, FACE_AT[1], 1.08 * FACE_SIZE),
            face_points(FACE_AT[0] + 0.6 * crop.side, FACE_AT[1], 0.6 * FACE_SIZE),
        )
    )
    assert crop.following(own, own) == crop.following(own, near) == crop
    square = crop.following(own, far)
    assert square.side == round(crop.side * 0.6 * STILL_GROWTH)
    window = Window.following(crop, torch.from_numpy(own), torch.from_numpy(far)[None])
    assert window.squares(crop) == [square]
    inside = window.enter(torch.from_numpy(far)[None])[0].numpy()
    middle = (inside[:, :2].min(0) + inside[:, :2].max(0)) / 2
    assert middle == pytest.approx([0, 0.12], abs=1.5 * STILL_SHIFT / 0.6)
    # It goes along smoothly: a pixel of the face is at most two of the window.
    lefts = [crop.following(own, own + np.float32([step / 200, 0, 0])).left for step in range(60)]
    assert np.diff(lefts).max() <= 2
    assert lefts[-1] > lefts[0]
