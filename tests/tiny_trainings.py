"""A tiny training of every model that trains by steps, in this process or, run as a script, in several.

As a script: ``torchrun tiny_trainings.py FOLDER``; each process writes ``rank*.pt`` with what it saw and ended with.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from accelerate import PartialState
from drawn_people import pack_drawn_people
from PIL import Image

from superface_hf.data.prepared_set import Portraits, PreparedClip, write_clips, write_portraits
from superface_hf.face_model.linear import FaceModel
from superface_hf.training.core.run import TrainingRun
from superface_hf.utils.settings import build

STEPS = 3


def jpeg(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def face(x: float, y: float, size: float) -> np.ndarray:
    return (FaceModel.default().mean.numpy() * size + np.array([x, y, 0])).astype(np.float32)


def write_tracker_set(folder: Path) -> Path:
    """A prepared set of a few clips and portraits of noise, with mean-face labels."""
    random = np.random.default_rng(0)

    def clip(name: str, split: str) -> PreparedClip:
        pictures = [jpeg(random.integers(0, 255, (128, 128, 3), np.uint8)) for _ in range(3)]
        landmarks = np.stack([face(64, 64, 25) for _ in pictures])
        found, index = np.ones(3, bool), np.arange(3)
        return PreparedClip(name, split, 25.0, (128, 128), landmarks, None, found, index, pictures, person=name)

    write_clips(folder, "train", [clip("train_001", "train"), clip("train_002", "train")])
    write_clips(folder, "val", [clip("val_001", "val")])
    for number, name in enumerate(("portraits_small", "portraits_large")):
        pictures = [jpeg(random.integers(0, 255, (256, 256, 3), np.uint8)) for _ in range(12)]
        landmarks = np.stack([face(128, 110, 30) for _ in pictures])
        write_portraits(folder, name, Portraits(pictures, np.arange(12), landmarks, None), number)
    return folder


def write_layered_shard(folder: Path) -> Path:
    """A shard with one clip of a face that slides over noise."""
    from superface_hf.data.layered.pack import Shards, pack_clip

    frames, side = 24, 96
    noise = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    video = folder / "train_sliding.mp4"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), 25, (side, side))
    for step in range(frames):
        writer.write(np.roll(noise, step, axis=1))
    writer.release()
    mean = FaceModel.default().mean.numpy()
    places = [(mean * 0.4 * np.array([1, 1, -1]) + np.array([1 + 0.004 * step, 1, 0])) / 2 for step in range(frames)]
    mattes = np.zeros((frames // 2, 256, 256), np.uint8)
    mattes[:, 60:200, 70:190] = 255
    labels = {"landmarks": np.stack(places).astype(np.float32), "matte": mattes}
    shards = Shards(folder)
    shards.add(pack_clip(video, labels, 25.0, 0))
    shards.close()
    return folder


def pack_noise_faces(folder: Path) -> Path:
    """Three people of noise to train with, one of whom the face space drew, and one held out."""
    from safetensors.torch import save_file

    from superface_hf.data.pictures.judge import JUDGE, JUDGE_STAGES
    from superface_hf.models.backbone import LiteBackbone
    from superface_hf.training.restorer.packed_faces import PackedFace, write_faces

    random = np.random.default_rng(0)
    faces = []
    for number in range(4):
        file = jpeg(random.integers(0, 255, (512, 512, 3), np.uint8))
        split = "train" if number < 3 else "val"
        faces.append(PackedFace(f"face_{number}", split, "portrait", number, 100.0, file, b"" if number else file))
    write_faces(folder, faces)
    save_file(LiteBackbone(JUDGE_STAGES).half().state_dict(), folder / JUDGE)
    return folder


class Data:
    """Folders of training data, made when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, write: Callable[[Path], Path]) -> Path:
        path = self.folder / name
        with PartialState(cpu=True).main_process_first():
            if not path.exists():
                path.mkdir(parents=True)
                write(path)
        return path


def tracker(part: str, **more: Any) -> Callable[[Data, Path, int | None], None]:
    def train(data: Data, out: Path, until: int | None) -> None:
        from superface_hf.training.models import TRAINABLE, load

        model = TRAINABLE[f"tracker-{part}"]
        settings = {
            "prepared": str(data("tracker", write_tracker_set)),
            "out": str(out),
            "steps": STEPS,
            "minutes": 1e9,
        }
        if part != "detector":
            settings["cache"] = str(data.folder / "crops")
        load(model.train)(build(load(model.settings), settings | more), until)

    return train


def matte(data: Data, out: Path, until: int | None) -> None:
    from superface_hf import SuperFaceMatteConfig, SuperFaceMatteModel
    from superface_hf.training.matte.trainer import MatteTrainingConfig, run

    torch.manual_seed(0)
    start = data("matte", lambda path: SuperFaceMatteModel(SuperFaceMatteConfig(image_size=64)).save_pretrained(path))
    shards = data("pictures", pack_drawn_people)
    run(MatteTrainingConfig(shards, out, start, STEPS, 1e9, batch_size=2, mixed_precision="no"), until)


def inpainter(data: Data, out: Path, until: int | None) -> None:
    from superface_hf.training.inpainter.trainer import InpainterTrainingConfig, LossWeights, run

    network = {"channels": [4, 6, 8, 12], "bottleneck": 6, "dilations": [1, 2]}
    config = InpainterTrainingConfig(
        data("pictures", pack_drawn_people), out, STEPS, 1e9, batch_size=2, size=64, mixed_precision="no",
        loss=LossWeights(judged_from=0.0, judged_fully=0.01), network=network,
    )  # fmt: skip
    run(config, until)


def painter(data: Data, out: Path, until: int | None) -> None:
    from superface_hf import SuperFaceTeacherConfig, SuperFaceTeacherModel
    from superface_hf.models.painters.windows import MOUTH
    from superface_hf.training.inpainter.trainer import LossWeights
    from superface_hf.training.painters.trainer import PainterTrainingConfig, run

    def write(path: Path) -> None:
        random, (height, width) = np.random.default_rng(0), MOUTH.size
        for split in ("train", "val"):
            (path / "mouth" / split).mkdir(parents=True)
            pictures = random.integers(0, 256, (5, 3, 4, height, width), dtype=np.uint8)
            names = ("shown", "own", "before", "target")
            arrays = {name: pictures[:, :, place] for place, name in enumerate(names)}
            arrays["asked"] = random.integers(0, 256, (5, 1, height, width), dtype=np.uint8)
            arrays["drawn"] = random.normal(size=(5, 13, height // 2, width // 2)).astype(np.float16)
            arrays["shapes"] = random.normal(size=(5, 2, len(MOUTH.points), 3)).astype(np.float16)
            np.savez(path / "mouth" / split / "clip.npz", repository=np.array("somebody"), **arrays)

    torch.manual_seed(0)
    start = data("small teacher", SuperFaceTeacherModel(SuperFaceTeacherConfig.of_size("tiny")).save_pretrained)
    config = PainterTrainingConfig(
        data("windows", write), "mouth", out, str(start), STEPS, 1e9, batch_size=2,
        loss=LossWeights(judged_from=0.0, judged_fully=0.01),
    )  # fmt: skip
    run(config, until)


def restorer(data: Data, out: Path, until: int | None) -> None:
    from superface_hf.training.restorer.trainer import LossWeights, RestorerTrainingConfig, run

    network = {
        "block_out_channels": [8, 8, 8], "norm_num_groups": 2, "latent_channels": 8, "num_codes": 8, "code_size": 4,
        "hidden_size": 8, "num_layers": 1, "num_heads": 1, "window": 4,
    }  # fmt: skip
    config = RestorerTrainingConfig(
        data("faces", pack_noise_faces), out, STEPS, 1e9, first_stage=0.34, second_stage=0.33, batch_size=2, size=32,
        vq_batch_size=2, vq_size=32, mixed_precision="no", loss=LossWeights(quantised_from=0, judged_from=0, judged_fully=0.01),
        network=network,
    )  # fmt: skip
    run(config, until)


def layered_teacher(data: Data, out: Path, until: int | None) -> None:
    from superface_hf.training.layered.trainer import LayeredTrainingConfig, run

    config = LayeredTrainingConfig(
        data("layered", write_layered_shard), out, size="tiny", steps=STEPS, minutes=1e9, sources=1, targets=1,
        degraded=0.5, threads=1, mixed_precision="no",
    )  # fmt: skip
    run(config, until)


def speech_clips() -> list[Any]:
    from superface_hf.data.speech.clips import SpeechClip

    random = np.random.default_rng(0)
    return [
        SpeechClip(
            f"clip_{number}", f"person_{number}", 25.0, (0.1 * random.normal(size=4 * 16000)).astype(np.float32),
            random.normal(size=(100, 30)), np.ones(100, bool),
        )
        for number in range(4)
    ]  # fmt: skip


def audio_to_lip(data: Data, out: Path, until: int | None) -> None:
    from superface_hf import SuperFaceAudioToLipConfig
    from superface_hf.training.audio_to_lip.trainer import AudioToLipTrainer, AudioToLipTrainingConfig

    config = AudioToLipTrainingConfig(
        out=str(out), steps=STEPS, batch_size=2, seconds=1.0, warmup=1, validate_every=0, mixed_precision="no", real=1.0,
        quiet=0.0,
    )  # fmt: skip
    model = SuperFaceAudioToLipConfig(hidden_size=16, dilations=[1, 2], num_mel_bins=16)
    AudioToLipTrainer(config, [], speech_clips(), model_config=model).train(until)


def sync_expert(data: Data, out: Path, until: int | None) -> None:
    from superface_hf import SuperFaceSyncExpertConfig
    from superface_hf.data.speech.sync_windows import SyncSampling
    from superface_hf.training.sync_expert.trainer import SyncExpertTrainer, SyncExpertTrainingConfig

    config = SyncExpertTrainingConfig(
        out=str(out), steps=STEPS, batch_size=3, warmup=1, calibrate_at=0, reach=8, mixed_precision="no"
    )
    model = SuperFaceSyncExpertConfig(hidden_size=16, num_mel_bins=16, embedding_size=8)
    SyncExpertTrainer(config, speech_clips(), model_config=model, sampling=SyncSampling(frames=40)).train(until)


def lip_reader(data: Data, out: Path, until: int | None) -> None:
    from superface_hf import SuperFaceLipReaderConfig
    from superface_hf.data.speech.lip_windows import LipSampling
    from superface_hf.data.speech.read_clips import ReadClip
    from superface_hf.models.lip_reader.heard_visemes import HeardViseme
    from superface_hf.training.lip_reader.trainer import LipReaderTrainer, LipReaderTrainingConfig

    random = np.random.default_rng(0)
    clips = [
        ReadClip(
            f"clip_{number}", "train", f"person_{number}", 25.0, random.integers(0, 255, (30, 48, 72), np.uint8),
            np.ones(30, bool), [HeardViseme("open", 0.2, 0.8)],
        )
        for number in range(4)
    ]  # fmt: skip
    config = LipReaderTrainingConfig(out=str(out), steps=STEPS, batch_size=2, warmup=1, calibrate_at=2)
    model = SuperFaceLipReaderConfig(channels=[4, 4, 4], hidden_size=8, dilations=[1])
    LipReaderTrainer(config, clips, model, LipSampling(frames=20)).train(until)


def motion_clip(number: int) -> Any:
    """An idle face that speaks noise."""
    from superface_hf.drivers.idle import IdleMotion
    from superface_hf.models.speech_to_motion.motion_vector import to_vectors
    from superface_hf.motion import Motion
    from superface_hf.training.speech_to_motion.clips import MotionClip

    random = np.random.default_rng(number)
    rows = to_vectors(IdleMotion(seed=number).motion(40, 25), Motion.neutral(1, 25))
    heard = np.concatenate([random.normal(size=(40, 256)), rows[:, :30]], axis=1).astype(np.float32)
    return MotionClip(f"p{number}", f"c{number}", False, False, rows, heard, np.zeros(40), rows)


def speech_to_motion(data: Data, out: Path, until: int | None) -> None:
    from superface_hf.training.speech_to_motion.trainer import SpeechToMotionTrainer, SpeechToMotionTrainingConfig

    config = SpeechToMotionTrainingConfig(
        out=str(out), steps=STEPS, batch_size=2, validate_every=0, mixed_precision="no", warmup=1
    )
    network = {"hidden_size": 24, "num_layers": 1, "num_heads": 2, "frames": 20, "known_frames": 4}
    SpeechToMotionTrainer(config, [motion_clip(0), motion_clip(1)], network).train(until)


def lip_refiner(data: Data, out: Path, until: int | None) -> None:
    from superface_hf.models.speech_to_motion.motion_statistics import MotionStatistics
    from superface_hf.training.speech_to_motion.lip_refiner import LipRefinerTrainingConfig, LipWindows, train_refiner

    generator = torch.Generator().manual_seed(0)
    sizes = ((8, 20, 286), (8, 20, 30), (8, 20, 30))
    windows = LipWindows(*(torch.randn(*size, generator=generator) for size in sizes), torch.ones(8, 20))
    config = LipRefinerTrainingConfig(out=str(out), steps=STEPS, batch_size=4)
    train_refiner(config, windows, MotionStatistics(), until)


def conre(data: Data, out: Path, until: int | None) -> None:
    from superface_hf.training.portraits.conre import ConReTrainingConfig, run

    def write(path: Path) -> Path:
        random = np.random.default_rng(0)
        arrays = {"voices": random.normal(size=(32, 16)), "latents": random.normal(size=(32, 12))}
        np.savez(path / "pairs.npz", **arrays, masculine=random.integers(0, 2, 32), person=np.arange(32))
        return path

    pairs = data("conre", write) / "pairs.npz"
    run(ConReTrainingConfig(pairs, out, size=8, batch=8, bank=16, steps=STEPS), until)


TRAIN: dict[str, Callable[[Data, Path, int | None], None]] = {
    "tracker-detector": tracker("detector", size=64, batch=4),
    "tracker-landmarks": tracker("landmarks", negatives=2, batch=4),
    "tracker-eyes": tracker("eyes", batch=32, tuning=4),
    "tracker-mouth": tracker("mouth", batch=32, crops={"tuning": 4}),
    "tracker-brows": tracker("brows", batch=32, crops={"tuning": 4}),
    "matte": matte,
    "inpainter": inpainter,
    "painter": painter,
    "restorer": restorer,
    "layered-teacher": layered_teacher,
    "audio-to-lip": audio_to_lip,
    "sync-expert": sync_expert,
    "lip-reader": lip_reader,
    "speech-to-motion": speech_to_motion,
    "lip-refiner": lip_refiner,
    "conre": conre,
}


class Watch:
    """Notes what a training run does at each step.

    Attributes:
        losses: of this process's batches.
        run: the run.
    """

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.run: TrainingRun | None = None

    def __enter__(self) -> Watch:
        self._tick = tick = TrainingRun.tick
        watch = self

        def noted(self: TrainingRun, terms: Any, *arguments: Any, **more: Any) -> None:
            watch.run = self
            watch.losses.append(float(terms["loss"]))
            tick(self, terms, *arguments, **more)

        TrainingRun.tick = noted  # type: ignore[method-assign]
        return self

    def __exit__(self, *error: object) -> None:
        TrainingRun.tick = self._tick  # type: ignore[method-assign]

    def weights(self) -> list[torch.Tensor]:
        """The averaged weights as they are now."""
        assert self.run is not None
        return [parameter.detach().clone() for parameter in self.run.averaged.parameters()]


def main() -> None:
    from superface_hf.training.core.processes import accelerator_for

    torch.set_num_threads(1)
    folder, accelerator = Path(sys.argv[1]), accelerator_for()
    data = Data(folder / "data")
    found = {}
    for name, train in TRAIN.items():
        with Watch() as watch:
            train(data, folder / name, None)
        assert watch.run is not None
        found[name] = {"losses": watch.losses, "step": watch.run.step, "weights": watch.weights()}
    torch.save({"processes": accelerator.num_processes, "found": found}, folder / f"rank{accelerator.process_index}.pt")


if __name__ == "__main__":
    main()
