"""Evaluate made-up portraits: whether they suit the voice, show faces, and resemble no person of the training set.

Every figure is reported beside chance or a baseline. Labels of presentation and age are a network's estimates from
people's faces; a second network, which labelled nothing, evaluates the pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..metrics.made_up_faces import NEAR, face_diversity, nearest_training_face, presentation_agreement
from ..models.tracker.base import FaceTracker
from ..models.voice_encoder.modeling_voice_encoder import Hearing
from ..pipelines.speech_to_portrait import SpeechToPortraitPipeline
from ..training.portraits.labels import FaceGuesser
from ..training.portraits.voices import Voices, held_out_heads, mean_embedding
from .second_judge import SecondJudge

SHARP_SIDE = 512  # pixels of the picture whose sharpness is measured
FRONTAL = 0.15  # radians


@dataclass(eq=False)
class Drawn:
    """Pictures drawn for people's voices.

    Attributes:
        person: (N,) whose voice.
        masculine, age: (N,) the second judge's, of each picture.
        embedding: (N, 128) dlib's.
        found: (N,) whether the tracker finds a face that it is certain of.
        sharpness: (N,) variance of the Laplacian in the face.
    """

    person: np.ndarray
    masculine: np.ndarray
    age: np.ndarray
    embedding: np.ndarray
    found: np.ndarray
    sharpness: np.ndarray


def held_out_hearings(voices: Voices, pipe: SpeechToPortraitPipeline) -> list[Hearing]:
    """Return what is heard in each clip by heads that were fitted without its person."""
    encoder = pipe.voice_encoder
    inputs = torch.stack([mean_embedding(windows) for windows in voices.windows])
    weights = torch.from_numpy(voices.weights).float()
    sign = 2 * (torch.from_numpy(voices.masculine) > 0.5).float() - 1
    mean, spread = (float(value) for value in encoder.age_scale)
    heard = held_out_heads(inputs, sign, (torch.from_numpy(voices.age).float() - mean) / spread, weights, voices.person)
    scale = _scale_of(encoder.heads.weight[0], inputs, heard[:, 0])
    result = []
    for (score, years), seconds in zip(heard.tolist(), voices.seconds, strict=True):
        presentation = float(torch.sigmoid(torch.tensor(scale * score)))
        age = float(np.clip(mean + spread * years, 18, 90))
        result.append(Hearing(presentation, age, 1.0, 1.0, float(seconds), 1.0))
    return result


def draw(
    voices: Voices,
    pipe: SpeechToPortraitPipeline,
    seeds: int,
    judge: SecondJudge,
    guess: FaceGuesser,
    tracker: FaceTracker,
    beta: float | None = None,
    people: int | None = None,
    keep: Callable[[np.ndarray], None] | None = None,
) -> Drawn:
    """Draw ``seeds`` pictures for one clip of each person (of the first ``people`` people), heard as held out."""
    hearings = held_out_hearings(voices, pipe)
    firsts = [int(np.flatnonzero(voices.person == person)[0]) for person in np.unique(voices.person)[:people]]
    rows: list[tuple[float, ...]] = []
    embeddings, of = [], []
    for row in tqdm(firsts, mininterval=20, desc="drawn"):
        heard = hearings[row]
        weight = pipe.denoiser.beta(heard.seconds, heard.certainty) if beta is None else beta
        presentation, years = pipe.denoiser.group(heard.presentation, heard.age, weight)
        for seed in range(seeds):
            drawn = pipe(
                presentation=presentation,
                age=years,
                generator=torch.Generator().manual_seed(1000 * row + seed),
                output_type="np",
            )
            picture, landmarks = drawn.images[0], drawn.landmarks[0]
            if keep is not None:
                keep(picture)
            faces = tracker.find_faces(picture)
            masculine, age = judge(picture, landmarks)
            rows.append((masculine, age, bool(faces) and faces[0].certain, sharpness(picture, landmarks)))
            embeddings.append(guess(picture, landmarks).embedding)
            of.append(voices.person[row])
    presentations, ages, found, sharp = (np.array(column) for column in zip(*rows, strict=True))
    return Drawn(np.array(of), presentations, ages, np.stack(embeddings), found, sharp)


def measures(drawn: Drawn, voices: Voices, training: np.ndarray, real_sharpness: np.ndarray) -> dict[str, float]:
    """Return the rows of the table.

    Args:
        training: (M, 128) dlib embeddings of the training faces.
        real_sharpness: (K,) of real portraits, as :func:`sharpness` gives them.
    """
    first = {person: int(np.flatnonzero(voices.person == person)[0]) for person in np.unique(voices.person)}
    rows = np.array([first[person] for person in drawn.person])
    years, presents = voices.age[rows], presentation_agreement(drawn.masculine, voices.masculine[rows])
    nearest = nearest_training_face(drawn.embedding, training)
    return {
        "pictures": len(rows), "people": len(np.unique(drawn.person)),
        "presentation agrees (second judge)": presents["agreement"],
        "presentation agrees, feminine": presents["feminine"],
        "presentation agrees, masculine": presents["masculine"],
        "presentation, majority": presents["majority"],
        "age MAE (second judge)": float(np.abs(drawn.age - years).mean()),
        "age MAE of the mean": float(np.abs(years - years.mean()).mean()),
        "age r": float(np.corrcoef(drawn.age, years)[0, 1]),
        "dlib distance between seeds": face_diversity(drawn.embedding, drawn.person),
        "nearest training face, least": float(nearest.min()), "nearest training face, median": float(np.median(nearest)),
        "nearer than 0.45": float((nearest < NEAR).mean()), "found by the tracker": float(drawn.found.mean()),
        "sharpness against real": float(np.median(drawn.sharpness) / np.median(real_sharpness)),
    }  # fmt: skip


def sharpness(picture: np.ndarray, landmarks: np.ndarray) -> float:
    """Return the variance of the Laplacian inside the face's box of a picture (H, W, 3) uint8, in grey levels squared."""
    import cv2

    low, high = (int(value) for value in (landmarks[:, 1].min(), landmarks[:, 1].max()))
    left, right = (int(value) for value in (landmarks[:, 0].min(), landmarks[:, 0].max()))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)[max(0, low) : high, max(0, left) : right]
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def _scale_of(head: Tensor, inputs: Tensor, scores: Tensor) -> float:
    """Return the ratio of a fitted head's logits to the scores of held-out people."""
    own = inputs @ head.detach()
    return float((own - own.mean()).std() / (scores - scores.mean()).std())
