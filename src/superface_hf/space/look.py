"""How the page looks: light and dark, on a phone and on a desktop. Fonts come from the visitor's system."""

from __future__ import annotations

import gradio as gr

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "monospace")

CSS = """
.gradio-container { max-width: 1120px !important; margin: 0 auto !important; overflow: clip !important; }
.sf-hero { padding: 1.2rem 0 .2rem; }
.sf-hero h1 { font-size: clamp(1.6rem, 4.5vw, 2.3rem); line-height: 1.15; margin: 0 0 .35rem; letter-spacing: -.02em; }
.sf-hero p { margin: 0; font-size: 1.02rem; line-height: 1.5; color: var(--body-text-color-subdued); max-width: 46rem; }
.sf-synthetic { margin-top: .8rem; padding: .6rem .85rem; border-radius: 10px; font-size: .9rem; line-height: 1.45;
  background: color-mix(in srgb, var(--color-accent) 9%, transparent); border-left: 3px solid var(--color-accent); }
.sf-hint, .sf-licence { font-size: .86rem; line-height: 1.4; color: var(--body-text-color-subdued); margin: 0; }
.sf-hint { margin-bottom: -.6rem; }
.sf-lead { margin: 0; }
.sf-note { font-size: .9rem; line-height: 1.45; margin: 0; padding: .45rem .7rem; border-radius: 8px; overflow-wrap: anywhere; }
.sf-note.good { background: color-mix(in srgb, #16a34a 14%, transparent); }
.sf-note.bad { background: color-mix(in srgb, #dc2626 14%, transparent); }
.sf-plain, .sf-plain > .html-container, .sf-plain .prose { padding: 0 !important; }
.sf-sliders .block { padding-top: .3rem !important; padding-bottom: .3rem !important; }
.gradio-container .sf-beside { position: sticky; top: 12px; align-self: flex-start; z-index: 100; }
footer { opacity: .8; }
@media (max-width: 640px) {
  .gradio-container > .main { padding: .6rem !important; }
  .sf-hero { padding-top: .4rem; }
  /* The preview stays in sight while the sliders below it are moved. */
  .gradio-container .sf-sides { flex-direction: column-reverse !important; align-items: stretch !important; }
  .gradio-container .sf-beside { top: 0; align-self: stretch; }
  .gradio-container .sf-beside .block { height: 42vh !important; }
}
"""


def theme() -> gr.themes.Base:
    return gr.themes.Soft(
        primary_hue=gr.themes.colors.indigo,
        secondary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_lg,
        font=FONTS,
        font_mono=MONO,
    ).set(
        # The theme's own greys are too pale to be read by everybody, and its fields to be seen.
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        block_border_width="1px",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_700",
        slider_color="*primary_500",
    )


def hint(text: str) -> gr.HTML:
    """A small line that says what can be uploaded."""
    return gr.HTML(f'<p class="sf-hint">{text}</p>', elem_classes="sf-plain")


def lead(text: str) -> gr.HTML:
    """What a tab is for."""
    return gr.HTML(f'<p class="sf-lead">{text}</p>', elem_classes="sf-plain")


def note(text: str, good: bool) -> str:
    """A line about what happened, as HTML."""
    return f'<p class="sf-note {"good" if good else "bad"}">{text}</p>'
