"""The lip reader: what it sees, its arithmetic, what it refuses, and that it learns."""

from __future__ import annotations

from itertools import pairwise, product

import cv2
import numpy as np
import pytest
import torch
from conftest import frames_of

from superface_hf import MediaError, SuperFaceError, SuperFaceLipReaderConfig, SuperFaceLipReaderModel
from superface_hf.data.speech.lip_windows import NOTHING, Labelled, LipSampling, LipWindows
from superface_hf.data.speech.read_clips import ReadClip, load_read_clips, watch
from superface_hf.data.speech.tracked_clips import look_at_clips
from superface_hf.media import load_sound, write_mp4
from superface_hf.models.lip_reader import VISEMES, mouths_of
from superface_hf.models.lip_reader.heard_visemes import HeardViseme, heard_visemes
from superface_hf.models.lip_reader.modeling_lip_reader import most_probable
from superface_hf.models.lip_reader.mouth_pictures import HEIGHT, WIDTH, nearest_frames
from superface_hf.utils.assets import SPEECH

CLOSED, OPEN = VISEMES.index("closed"), VISEMES.index("open")


def tiny() -> SuperFaceLipReaderConfig:
    return SuperFaceLipReaderConfig(channels=[4, 8, 8], hidden_size=16, dilations=[1, 2], dropout=0.0)


@pytest.fixture
def reader() -> SuperFaceLipReaderModel:
    torch.manual_seed(0)
    return SuperFaceLipReaderModel(tiny()).eval()


def mouths(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (frames, HEIGHT, WIDTH), np.uint8)


def talking(seed: int, late: int = 0, frames: int = 60) -> ReadClip:
    """Somebody whose mouth is a dark hole while something open is said, and a line else; the sound may be late (frames)."""
    rng = np.random.default_rng(seed)
    changes = np.cumsum(rng.integers(3, 8, frames))
    is_open = (np.searchsorted(changes, np.arange(frames), side="right") + seed) % 2 == 1
    pictures = rng.normal(150, 8, (frames, HEIGHT, WIDTH)).clip(0, 255).astype(np.uint8)
    for picture, wide in zip(pictures, is_open, strict=True):
        cv2.ellipse(picture, (WIDTH // 2, HEIGHT // 2), (16, 12 if wide else 1), 0, 0, 360, 30, -1)
    heard = [
        HeardViseme("open" if wide else "closed", (frame + late) / 25, (frame + late + 1) / 25)
        for frame, wide in enumerate(is_open)
    ]
    return ReadClip(f"clip{seed}", "train", f"person{seed}", 25.0, pictures, np.ones(frames, bool), heard)


def test_a_mouth_looks_the_same_wherever_the_face_is(face_points, smooth_scene):
    points = face_points(160, 120, 50)
    seen, found = mouths_of([smooth_scene], [points])
    assert seen.shape == (1, HEIGHT, WIDTH)
    assert found.all()
    turn = cv2.getRotationMatrix2D((160, 120), 20, 1.3)
    turned = cv2.warpAffine(smooth_scene, turn, (320, 240), borderMode=cv2.BORDER_REFLECT)
    moved = points.copy()
    moved[:, :2] = points[:, :2] @ turn[:, :2].T + turn[:, 2]
    again, _ = mouths_of([turned], [moved])
    assert np.abs(again.astype(int) - seen).mean() < 3 < np.abs(seen.astype(int) - seen.mean()).mean()


@pytest.fixture
def smooth_scene() -> np.ndarray:
    y, x = np.mgrid[0:240, 0:320]
    return np.stack([128 + 80 * np.sin(x / (9 + 4 * c) + c) * np.cos(y / (11 + 3 * c)) for c in range(3)], -1).astype(
        np.uint8
    )


def test_a_frame_without_a_face_keeps_the_mouth_before(face_points, smooth_scene):
    seen, found = mouths_of([smooth_scene] * 3, [None, face_points(160, 120, 50), None])
    assert found.tolist() == [False, True, False]
    assert not seen[0].any()
    assert np.array_equal(seen[1], seen[2])


def test_frames_are_those_nearest_in_time():
    assert nearest_frames(6, 50.0, 25.0).tolist() == [0, 2, 4]
    assert nearest_frames(3, 12.5, 25.0).tolist() == [0, 0, 1, 2, 2, 2]


def test_light_and_contrast_do_not_matter(reader):
    seen = torch.rand(1, 5, HEIGHT, WIDTH)
    torch.testing.assert_close(reader(seen).logits, reader(0.3 * seen + 0.5).logits, atol=1e-3, rtol=1e-3)


def test_long_videos_are_read_in_blocks_with_the_same_result(reader, monkeypatch):
    whole = reader.read(mouths(40), 25)
    monkeypatch.setattr("superface_hf.models.lip_reader.modeling_lip_reader.BLOCK_FRAMES", 7)
    assert np.array_equal(reader.read(mouths(40), 25), whole)


def test_the_most_probable_sequence_is_found():
    rng = np.random.default_rng(0)
    scores, first, following = rng.normal(size=(5, 3)), rng.normal(size=3), rng.normal(size=(3, 3))

    def score(path):
        steps = sum(following[a, b] for a, b in pairwise(path))
        return first[path[0]] + steps + sum(scores[frame, value] for frame, value in enumerate(path))

    assert most_probable(scores, first, following).tolist() == list(max(product(range(3), repeat=5), key=score))


def test_evidence_is_highest_at_the_delay_of_the_picture(reader, monkeypatch):
    said = np.random.default_rng(0).integers(0, len(VISEMES), 60)
    shown = np.roll(said, 2)  # the picture is late by two frames
    seen = np.where(np.arange(len(VISEMES)) == shown[:, None], np.log(0.6), np.log(0.4 / (len(VISEMES) - 1)))
    monkeypatch.setattr(reader, "scores", lambda mouths, fps: seen)
    reader.usual.fill_(-np.log(len(VISEMES)))
    evidence = reader.evidence(mouths(60), 25, said, reach=4)
    assert evidence.argmax() - 4 == 2
    assert evidence.max() == pytest.approx(np.log2(0.6 * len(VISEMES)), abs=1e-6)
    with pytest.raises(MediaError, match="too few"):
        reader.evidence(mouths(60), 25, said[:8], reach=4)


@pytest.mark.parametrize("wrong", [mouths(0), mouths(3)[:, :20], mouths(3).astype(np.float32), mouths(3)[0]])
def test_anything_but_mouths_is_refused(reader, wrong):
    with pytest.raises(MediaError, match="mouths_of"):
        reader.read(wrong, 25)


@pytest.mark.parametrize("fps", [0, -1, float("nan")])
def test_a_frame_rate_is_above_zero(reader, fps):
    with pytest.raises(MediaError, match="frame rate"):
        reader.read(mouths(3), fps)


def test_it_comes_back_with_the_same_bits(reader, tmp_path):
    reader.following.copy_(torch.randn(len(VISEMES), len(VISEMES)))
    reader.save_pretrained(tmp_path)
    from transformers import AutoModel

    loaded = AutoModel.from_pretrained(tmp_path)
    assert isinstance(loaded, SuperFaceLipReaderModel)
    assert np.array_equal(loaded.eval().read(mouths(9), 25), reader.read(mouths(9), 25))


def test_pieces_are_always_the_same_and_what_is_not_seen_does_not_count():
    clip = talking(1)
    clip.found[10:20] = False
    windows = LipWindows([clip], {}, sampling=LipSampling(frames=80))
    one, again, other = windows[0], windows[0], windows[1]
    assert torch.equal(one.mouths, again.mouths)
    assert not torch.equal(one.mouths, other.mouths)
    assert (one.visemes[10:20] == NOTHING).all()
    assert (one.visemes[60:] == NOTHING).all()
    assert set(one.visemes[20:60].tolist()) <= {CLOSED, OPEN}


def test_clips_are_looked_at_and_listened_to_once(tmp_path, monkeypatch, tracker):
    pytest.importorskip("pocketsphinx")
    sound = load_sound(SPEECH).cut(1.2)
    (tmp_path / "data/clips").mkdir(parents=True)
    rows = ["clip,split,audio,repo,path"]
    for name, split in (("one", "train"), ("two", "val"), ("mute", "train")):
        write_mp4(tmp_path / f"data/clips/{name}.mp4", frames_of(30), 25, sound.samples, sound.rate)
        rows.append(f"{name}.mp4,{split},{name != 'mute'},repo,{name}.mp4")
    (tmp_path / "data/clips.csv").write_text("\n".join(rows))
    monkeypatch.setattr("superface_hf.data.speech.tracked_clips.embedded_tracker", lambda: tracker)
    for _ in range(2):
        look_at_clips(watch, tmp_path / "data", tmp_path / "cache", 20, 10)
        assert tracker.frames_read == 60  # not again
    (clip,) = load_read_clips(tmp_path / "data", tmp_path / "cache", "train")
    assert clip.name == "one"
    assert clip.mouths.shape == (30, HEIGHT, WIDTH)
    assert clip.found.all()
    assert clip.visemes == heard_visemes(load_sound(tmp_path / "data/clips/one.mp4").mono()[: round(1.2 * 16000)])
    with pytest.raises(SuperFaceError, match="read_clips"):
        load_read_clips(tmp_path / "data", tmp_path / "elsewhere", "train")


def test_it_learns_to_read_and_finds_out_by_how_much_a_sound_is_late(tmp_path):
    pytest.importorskip("accelerate")
    from superface_hf.training.lip_reader.trainer import LipReaderTrainer, LipReaderTrainingConfig

    clips = [*(talking(seed) for seed in range(6)), talking(6, late=3)]
    config = LipReaderTrainingConfig(
        out=str(tmp_path), steps=120, batch_size=4, warmup=5, calibrate_at=100, ema=0.9, learning_rate=5e-3
    )
    trainer = LipReaderTrainer(config, clips, tiny(), LipSampling(frames=40, blur=0.0, hidden=0.0))
    trainer.train()
    assert trainer.offsets["clip6"] == pytest.approx(3 / 25)
    assert all(trainer.offsets[f"clip{seed}"] == 0 for seed in range(6))
    reader = SuperFaceLipReaderModel.from_pretrained(tmp_path / "final").eval()
    stranger = talking(9)
    assert (reader.read(stranger.mouths, 25) == Labelled.of(stranger, 25).visemes).mean() > 0.9


def test_pocketsphinx_hears_what_lips_do():
    pytest.importorskip("pocketsphinx")
    sound = load_sound(SPEECH).mono()
    heard = heard_visemes(sound)
    assert [each.start for each in heard[1:]] == [each.end for each in heard[:-1]]
    assert heard[0].name == "rest"
    assert heard[-1].end == pytest.approx(len(sound) / 16000, abs=0.05)
    assert {"closed", "labiodental", "round", "open"} <= {each.name for each in heard}
    assert {each.name for each in heard_visemes(np.zeros(16000, np.float32))} == {"rest"}
    assert heard_visemes(np.zeros(0, np.float32)) == []
