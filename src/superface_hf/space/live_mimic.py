"""The live part of the tab *Mimic*: the photo imitates the visitor's camera, in a call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from ..animation.retargeting import Relative
from ..errors import NoFaceError
from .background import FIRST_COLOUR, PICTURE, TRANSPARENT, background_of
from .call_page import CALL
from .carrying import NotConnected, carried
from .device import on_shared_gpu
from .limits import read_picture
from .live import SCREEN_LOOK, even
from .messages import for_visitors, needed
from .parts import RENDERING, TabContext, run_buttons, stop_with

if TYPE_CHECKING:
    import numpy as np

    from .calls import Call

FPS = 25  # of the camera; where this machine draws fewer, it takes the newest picture each time
LONGEST_SIDE = 640  # pixels of the photo: more would be slower and is not sent
CANNOT = (
    "No live connection to your browser came about. Please record yourself with the camera of the field “Video to imitate”, "
    "and press “Imitate”."
)
NOTHING_SEEN = "The camera sent nothing. Please check that no other program uses it."
NO_FACE = "The camera saw no face. Please sit in front of it, with light on your face, and start again."
DRAWN = "What you saw is synthetic, drawn from your camera."
SCREEN = """
<div class="screen"><video playsinline autoplay></video><video class="self" playsinline autoplay muted hidden></video>
<p class="state" role="status">Your camera’s pictures are used for this only, and not kept.</p></div>
"""
LOOK = (
    SCREEN_LOOK
    + """
.screen video:not(.self) { height: 380px; }
.screen .self { position: absolute; right: .7rem; bottom: .6rem; width: 96px; height: 72px; border-radius: 8px;
  object-fit: cover; transform: scaleX(-1); }
"""
)
SCRIPT = (
    CALL
    + """
watch('value', () => { if (props.value?.call) call(props.value); else ended(props.value?.ended); });
"""
)


def live_part(context: TabContext, photo: Any, consent: Any, own: Any, background: Any, colour: Any) -> None:
    """Add the live part, for the photo and the choices of the tab; nothing where no calls can be made."""
    if not context.calls.usable or on_shared_gpu():
        return
    with gr.Accordion("Live, with your camera", open=False, elem_id="mimic-live"):
        gr.HTML(
            '<p class="sf-hint">The photo above moves like you do, for up to '
            f"{context.limits.live_seconds:g} seconds. Look straight ahead at first.</p>",
            elem_classes="sf-plain",
        )
        start, stop, _ = run_buttons("mimic-live", "Start the camera", example=False)
        screen = gr.HTML(
            value=None, html_template=SCREEN, css_template=LOOK, js_on_load=SCRIPT, elem_id="mimic-screen",
            elem_classes="sf-plain",
        )  # fmt: skip

    @for_visitors
    def mimic_live(
        photo: str, consent: bool, own_expression: bool = True, background: str = PICTURE, colour: str = FIRST_COLOUR
    ) -> Iterator[Any]:
        context.check_consent(consent, needed(photo, "a photo"))
        behind = background_of(background, colour)
        picture = read_picture(photo, replace(context.limits, longest_side=LONGEST_SIDE))
        context.studio.portrait(picture)  # refuses a photo without a face before the camera is switched on
        relative: Relative = "auto" if own_expression else False
        options = {"relative": relative, "background": None if behind == TRANSPARENT else behind}
        with context.calls.invite(with_camera=True) as call:
            yield call.invitation
            drawing = carried(
                call,
                lambda: imitate(call, context.studio.pipe, picture, **options),
                min(context.limits.live_seconds, context.limits.job_seconds),
                context.store.stopping,
            )
            try:
                for _ in drawing:
                    yield gr.skip()
                yield {"ended": DRAWN}
            except NotConnected:
                yield {"ended": CANNOT}
            except NoFaceError:
                yield {"ended": NO_FACE if call.pictures_seen else NOTHING_SEEN}

    hidden: dict[str, Any] = {"api_visibility": "private"}
    event = start.click(
        mimic_live, [photo, consent, own, background, colour], screen, show_progress="minimal", **RENDERING, **hidden
    )
    stop_with(stop, [event])
    stop.click(None, js="() => { window.dispatchEvent(new Event('sf-hang-up')); }", **hidden)


def imitate(call: Call, pipe: Any, picture: np.ndarray, **options: Any) -> None:
    """Show a picture (H, W, 3) uint8 imitating the camera of a call, with the label, until the call ends.

    Raises:
        NoFaceError: the camera showed no face.
    """
    from ..media.label import labelled

    for frame in pipe.stream(picture, video=call.camera(), fps=FPS, **options):
        call.show(labelled(even(frame)))
