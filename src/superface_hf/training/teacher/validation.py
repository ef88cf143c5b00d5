"""Measure a teacher on the validation clips against the plain mesh flow, and write a contact sheet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...data.mattes import Mattes, known_plate, person_colours
from ...data.prepared_set import ClipStream, PreparedClip, load_clips
from ...errors import SuperFaceError
from ...face_model.coordinates import Square
from ...face_model.topology import eye_boxes, mouth_box
from ...metrics.image import box_mask, psnr
from ...models.teacher.modeling_teacher import SuperFaceTeacherModel, plain_mesh_flow
from ...provenance.marks import picture_marks


@dataclass
class _Clip:
    name: str
    source: Tensor
    source_landmarks: Tensor
    targets: np.ndarray
    target_landmarks: Tensor
    masks: list[np.ndarray]


class ValidationClips:
    """The first kept frame of every validation clip as source, some later ones as targets, at ``size`` pixels.

    Args:
        prepared: folder or Hub id of a prepared set.

    Raises:
        SuperFaceError: the set cannot be read, or has no validation clips.
    """

    def __init__(self, prepared: str | Path, frames: int = 6, size: int = 512) -> None:
        self.clips = []
        for clip in _validation_clips(prepared):
            if not clip.jpegs:
                continue
            chosen = np.linspace(0, len(clip.jpegs) - 1, frames + 1).round().astype(int)
            pictures = np.stack(
                [
                    np.asarray(Image.fromarray(clip.picture(i)).resize((size, size), Image.Resampling.BICUBIC))
                    for i in chosen
                ]
            )
            side = min(clip.size)
            pixels = clip.landmarks[clip.jpeg_index[chosen]]
            landmarks = torch.from_numpy(Square(0, 0, side).to_image(pixels))
            masks = [
                box_mask([mouth_box(points), *eye_boxes(points)], size, size) for points in pixels[1:] * (size / side)
            ]
            floats = pictures.astype(np.float32) / 255
            source = torch.from_numpy(floats[:1]).permute(0, 3, 1, 2)
            self.clips.append(_Clip(clip.name, source, landmarks[:1], floats[1:], landmarks[1:], masks))
        if not self.clips:
            raise SuperFaceError(f"{prepared} has no validation clips: prepare some, or set run.validate_every=0.")


def _validation_clips(prepared: str | Path) -> list[PreparedClip]:
    """Return all clips of the split ``val``, in name order."""
    if Path(prepared).is_dir():
        return list(load_clips(Path(prepared), "val"))
    clips: dict[str, PreparedClip] = {}
    for clip in ClipStream(prepared, "val", buffer=1):
        if clip.name in clips:  # the stream begins again
            break
        clips[clip.name] = clip
    return [clips[name] for name in sorted(clips)]


@torch.inference_mode()
def measure_teacher(
    model: SuperFaceTeacherModel, data: ValidationClips, mattes: Mattes, sheet: Path
) -> dict[str, float | list[float]]:
    """Return the mean PSNR of teacher and plain mesh flow over the whole picture and the eye and mouth boxes, and the worst
    clip.

    Writes a contact sheet: for each clip the source, two targets, and these two by the mesh flow and by the teacher.
    """
    scores: dict[str, list[float]] = {"flow": [], "teacher": [], "flow_boxes": [], "teacher_boxes": []}
    rows = []
    for clip in data.clips:
        row = [clip.source[0].permute(1, 2, 0).numpy(), clip.targets[-1], clip.targets[len(clip.targets) // 2]]
        for name, rendered in _rendered(model, clip, mattes).items():
            pictures = rendered.float().clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
            pairs = list(zip(pictures, clip.targets, clip.masks, strict=True))
            scores[name].append(float(np.mean([psnr(p, t) for p, t, _ in pairs])))
            scores[f"{name}_boxes"].append(float(np.mean([psnr(p, t, m) for p, t, m in pairs])))
            row += [pictures[-1], pictures[len(pictures) // 2]]
        rows.append(np.concatenate(row, axis=1))
    full = (np.concatenate(rows) * 255).astype(np.uint8)
    half = Image.fromarray(full).resize((full.shape[1] // 2, full.shape[0] // 2), Image.Resampling.LANCZOS)
    half.save(sheet, **picture_marks(sheet.suffix))
    gains = np.array(scores["teacher"]) - np.array(scores["flow"])
    result = {name: round(float(np.mean(values)), 3) for name, values in scores.items()}
    return {**result, "worst_gain": round(float(gains.min()), 3), "gains": [round(float(g), 2) for g in gains]}


def _rendered(model: SuperFaceTeacherModel, clip: _Clip, mattes: Mattes) -> dict[str, Tensor]:
    """Return the clip's frames by the plain mesh flow and by the teacher, (T, 3, S, S) each."""
    device = model.device
    source, landmarks, driving = (x.to(device) for x in (clip.source, clip.source_landmarks, clip.target_landmarks))
    matte = mattes(source)
    plate = known_plate(source, matte, source, matte)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        colours = person_colours(source, matte, plate)
        frames = model.render(model.prepare(colours, matte, landmarks), driving).over(plate)
    count = len(driving)
    flow = plain_mesh_flow(source.expand(count, -1, -1, -1), landmarks.expand(count, -1, -1), driving)
    return {"flow": flow, "teacher": frames}
