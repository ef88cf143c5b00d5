"""The student's prepared data and outputs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...layers.motion import Window
from ...layers.rendered import RenderedWindow
from .prior import Prior


@dataclass(frozen=True, eq=False)
class PreparedStudent:
    """The data that is computed once from what the student stores.

    Attributes:
        texture: (1, 3, S/2, S/2) the person's colours in [0, 1].
        appearance: (1, A + 1, S/8, S/8) the appearance feature and the matte.
        coarse: (1, A + 1, S/16, S/16) the same at half of the resolution.
        prior: the landmarks, and the motion that they imply.
    """

    texture: Tensor
    appearance: Tensor
    coarse: Tensor
    prior: Prior


@dataclass(frozen=True, eq=False)
class CoarseMotion:
    """The output of the dense motion network.

    Attributes:
        flow: (B, 2, S/8, S/8) backward displacement of the person in the frames' windows.
        occlusion: (B, 1, S/8, S/8) in [0, 1], 1 where the portrait shows the position.
        features: (B, width, S/16, S/16) for the generator.
        code: (B, code) the motion representation p.
    """

    flow: Tensor
    occlusion: Tensor
    features: Tensor
    code: Tensor


@dataclass(frozen=True, eq=False)
class StudentMotion:
    """The person's motion in the frames' windows.

    Attributes:
        flow: (B, 2, S/2, S/2) backward displacement of the person.
        coarse: (B, 2, S/8, S/8) the same before the windows of mouth and eyes.
        occlusion: (B, 1, S/8, S/8) in [0, 1], 1 where the portrait shows the position.
    """

    flow: Tensor
    coarse: Tensor
    occlusion: Tensor


@dataclass(frozen=True, eq=False)
class StudentOutput:
    """The person of B frames in their windows, in the teacher's form.

    Attributes:
        window: the position of the frames' windows in the portrait's crop.
        motion: the person's motion.
        keep, paint: (B, 1, S, S) and (B, 3, S, S): the person is ``keep * warped + paint``.
        alpha_change: (B, 1, S, S) in [-1, 1], added to the warped matte.
        code: (B, code) the motion representation p.
    """

    window: Window
    motion: StudentMotion
    keep: Tensor
    paint: Tensor
    alpha_change: Tensor
    code: Tensor

    @property
    def rendered(self) -> RenderedWindow:
        """The input of the compositor."""
        return RenderedWindow(self.window, self.motion.flow, self.keep, self.paint, self.alpha_change)
