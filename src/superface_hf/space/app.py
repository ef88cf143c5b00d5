"""The app: five tabs over one set of models."""

from __future__ import annotations

from typing import Any

import gradio as gr

from .behaviour import SCRIPT
from .device import on_shared_gpu
from .dub import dub_tab
from .edit import edit_tab
from .examples import LICENCE, Examples
from .guard import SizeGuard
from .guide import Guide
from .limits import Limits
from .look import CSS, theme
from .messages import SYNTHETIC
from .mimic import mimic_tab
from .parts import Room
from .student import student_tab
from .studio import Studio
from .talk import talk_tab

TITLE = "SuperFace: a photo that talks"
# Files of visitors are deleted an hour after they came, looked for every ten minutes.
SWEEP = (600, 3600)  # seconds: how often, how old
THREADS = 16

HERO = f"""
<div class="sf-hero">
  <h1>A photo that talks</h1>
  <p>Let a picture speak, imitate a video or change its expression; give a video new words.</p>
  <p class="sf-synthetic">{SYNTHETIC}</p>
</div>
"""


def build(studio: Studio | None = None, limits: Limits | None = None) -> gr.Blocks:
    """The page and its endpoints; nothing is loaded yet.

    Args:
        studio: the models; by default the embedded ones, loaded when first needed or by :func:`launch`.
        limits: what visitors may bring.
    """
    studio, limits = studio or Studio(), limits or Limits()
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=SWEEP) as demo:
        gr.HTML(HERO, elem_classes="sf-plain")
        room = Room(studio, limits, Examples(), Guide(studio, limits))
        for name, tab in TABS.items():
            with gr.Tab(name, elem_id=f"tab-{name.lower()}"):
                tab(room)
        gr.HTML(f'<p class="sf-licence">{LICENCE}</p>', elem_classes="sf-plain")
    demo.queue(max_size=limits.waiting, default_concurrency_limit=4)
    demo.studio, demo.limits = studio, limits
    return demo


TABS = {"Talk": talk_tab, "Mimic": mimic_tab, "Edit": edit_tab, "Dub": dub_tab, "Student": student_tab}


def launch(demo: gr.Blocks | None = None, **settings: Any) -> Any:
    """Serves the page; models load in the background once it is up.

    Args:
        demo: what :func:`build` made.
        settings: for ``gr.Blocks.launch``, such as ``server_name``, ``server_port`` and ``prevent_thread_lock``.
    """
    demo = demo or build()
    limits: Limits = demo.limits  # type: ignore[attr-defined]
    wait = not settings.pop("prevent_thread_lock", False)
    if on_shared_gpu():
        _ = demo.studio.pipe  # type: ignore[attr-defined] # it moves what is loaded before the page is up
    served = demo.launch(
        prevent_thread_lock=True,
        theme=theme(),
        head=f"<style>{CSS}</style><script>{SCRIPT}</script>",  # gradio rewrites the selectors of css=
        max_file_size=limits.largest_upload,
        max_threads=THREADS,
        state_session_capacity=limits.sessions,
        run_history=False,  # it would keep what visitors send, tokens too
        show_error=False,  # what visitors read is written by hand, see messages.py
        ssr_mode=False,
        footer_links=["api"],
        app_kwargs={"middleware": [_guarded(limits)]},
        **settings,
    )
    demo.studio.warm_up()  # type: ignore[attr-defined]
    if wait:
        demo.block_thread()
    return served


def _guarded(limits: Limits) -> Any:
    from starlette.middleware import Middleware

    return Middleware(SizeGuard, largest_upload=limits.largest_upload)
