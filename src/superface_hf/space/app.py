"""The app: six tabs over one set of models."""

from __future__ import annotations

import gradio as gr

from .calls import Calls
from .dub import dub_tab
from .edit import edit_tab
from .examples import LICENCE, Examples
from .gate import Gate
from .guide import Guide
from .ice import Relay, reachable
from .limits import Limits
from .messages import SYNTHETIC
from .metrics import Metrics
from .mimic import mimic_tab
from .parts import TabContext
from .store import Store
from .student import student_tab
from .studio import Studio
from .talk import talk_tab
from .voice_only import voice_only_tab

TITLE = "SuperFace: a photo that talks"

HERO = f"""
<div class="sf-hero">
  <h1>A photo that talks</h1>
  <p>Let a picture speak, imitate a video or change its expression; give a video new words.</p>
  <p class="sf-synthetic">{SYNTHETIC}</p>
</div>
"""


def build(studio: Studio | None = None, limits: Limits | None = None) -> gr.Blocks:
    """Build the page and its endpoints; no model is loaded yet.

    Args:
        studio: the models; by default the embedded ones, loaded when first needed or by :func:`launch`.
        limits: limits on uploads and work.
    """
    studio, limits = studio or Studio(), limits or Limits()
    relay = Relay.from_environment()
    store, calls = Store(), Calls(limits.live_seconds > 0 and reachable(relay), relay)
    with gr.Blocks(title=TITLE, analytics_enabled=False) as demo:
        gr.HTML(HERO, elem_classes="sf-plain")
        context = TabContext(studio, limits, Examples(), Guide(studio, limits), store, calls)
        # The menu for tabs that do not fit is laid out again without end on a phone, once one of its tabs is chosen.
        with gr.Tabs(overflow_behavior="wrap"):
            for name, tab in TABS.items():
                with gr.Tab(name, elem_id=f"tab-{name.lower().replace(' ', '-')}"):
                    tab(context)
        gr.HTML(f'<p class="sf-licence">{limits.keep_words} {limits.job_words} {LICENCE}</p>', elem_classes="sf-plain")
    demo.queue(max_size=limits.waiting, default_concurrency_limit=4)
    demo.studio, demo.limits, demo.store, demo.calls, demo.metrics = studio, limits, store, calls, Metrics()
    Gate(demo, store, demo.metrics)  # last: it wraps all functions that exist by now
    return demo


TABS = {
    "Talk": talk_tab,
    "Voice only": voice_only_tab,
    "Mimic": mimic_tab,
    "Edit": edit_tab,
    "Dub": dub_tab,
    "Student": student_tab,
}
