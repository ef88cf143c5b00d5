"""The page's theme, styles and small text elements. Fonts come from the visitor's system."""

from __future__ import annotations

import gradio as gr

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "monospace")

CSS = """
.gradio-container { width: 100% !important; max-width: 1220px !important; margin: 0 auto !important;
  overflow: clip !important; }
.gradio-container > .main, .gradio-container > .main > .wrap { width: 100% !important; }
.gradio-container > .main { padding: .9rem 1.25rem 1.2rem !important; }
.sf-plain, .sf-plain > .html-container, .sf-plain .prose { padding: 0 !important; }
.sf-hero { display: grid; grid-template-columns: auto 1fr; column-gap: 1.1rem; align-items: baseline; }
.sf-hero h1 { font-size: 1.75rem; line-height: 1.2; margin: 0; letter-spacing: -.025em; font-weight: 750; }
.sf-hero p { margin: 0; font-size: 1rem; line-height: 1.45; color: var(--body-text-color-subdued); }
.sf-hero .sf-synthetic { grid-column: 1 / -1; margin-top: .35rem; font-size: .875rem; }
.sf-synthetic::before { content: 'AI'; font-weight: 700; font-size: .72rem; padding: .1rem .38rem; margin-right: .5rem;
  border-radius: 5px; background: var(--button-primary-background-fill); color: white; }
.sf-hint, .sf-licence { font-size: .85rem; line-height: 1.4; color: var(--body-text-color-subdued); margin: 0; }
.sf-hint { margin-top: -.45rem; }
.sf-lead { margin: 0 0 -.2rem; }
.sf-in, .sf-out { gap: .7rem !important; }
.sf-in { flex-grow: 5 !important; }
.sf-out { flex-grow: 6 !important; }

/* Messages beside a field. An empty line takes no space. */
.sf-note { font-size: .9rem; line-height: 1.45; margin: 0; padding: .45rem .7rem; border-radius: 8px; overflow-wrap: anywhere;
  color: var(--body-text-color) !important; }
.sf-note.good { padding: 0 0 0 .55rem; border-left: 3px solid #16a34a; border-radius: 0; font-size: .86rem; }
.sf-note.bad { background: color-mix(in srgb, #dc2626 14%, transparent); border-left: 3px solid #dc2626; }
.sf-told:not(:has(p)) { display: none !important; }
.sf-told .html-container:empty, .sf-told .html-container:not(:has(p)) { display: none; }
/* Messages are beside the field: hide gradio's "Error" over the last result. */
[data-testid="status-tracker"]:has(> .error) { display: none !important; }

.sf-actions { gap: .6rem !important; flex-wrap: nowrap !important; }
.sf-actions button { min-height: 3.3rem; white-space: nowrap; }
.sf-actions .primary { font-size: 1.15rem !important; }
/* Hide the stop button while nothing runs. */
.sf-sides:has(> .sf-out > .sf-result):not(:has(.sf-result > .wrap
  :is(.meta-text, .meta-text-center, .progress-text, .progress-level))) .sf-stop { display: none !important; }

/* Gradio's upload areas are taller than the fields, and push the row of icons below them out of sight. */
.sf-field .upload-container .wrap { min-height: 0 !important; padding-top: 1.2rem; line-height: 1.4; }
.sf-field .video-container { display: flex; flex-direction: column; height: 100%; }
.sf-field .video-container > :first-child { flex: 1; min-height: 0; }
.sf-sound .upload-container { height: 8rem !important; }
/* Hide the hints once a file was uploaded. */
.sf-field:has(video, audio, #waveform) ~ .sf-hints { display: none !important; }

/* While the example is shown, hide the download. */
.sf-caption p { margin: 0; display: flex; flex-wrap: wrap; align-items: center; gap: .3rem .8rem; }
.sf-out:not(:has([data-example])) > .sf-caption, .sf-out:has(.sf-result .progress-text) > .sf-caption { display: none; }
.sf-out:has([data-example], img[src*="/example_edit"]) > .sf-after { display: none !important; }
.gradio-container .sf-caption .sf-hear { font-size: .92rem !important; padding: .3rem .85rem !important;
  border-radius: 99px !important; }
.sf-result, .sf-result > .wrap:not([data-testid]), .sf-result .mirror-wrap { background: var(--sf-stage) !important; }
.sf-result > label { opacity: .92; }
.gradio-container input[type="range"]::-webkit-slider-thumb { border: 2px solid var(--button-primary-background-fill); }
.gradio-container input[type="range"]::-moz-range-thumb { border: 2px solid var(--button-primary-background-fill); }
.sf-sliders .block { padding-top: .3rem !important; padding-bottom: .3rem !important; }
.gradio-container .sf-beside { position: sticky; top: 12px; align-self: flex-start; z-index: 100; }
:root { --sf-stage: #eef1f6; --sf-focus: #4338ca; }
.dark { --sf-stage: #0b1120; --sf-focus: #c7d2fe; }
.dark :is([role="tab"][aria-selected="true"], .source-selection .selected) { color: #c7d2fe !important; }

/* Show the keyboard's focus. */
.gradio-container :is(button, a, input, textarea, select, summary, video, [tabindex]):focus-visible {
  outline: 3px solid var(--sf-focus) !important; outline-offset: 2px !important; }
.gradio-container .block :is(button, video):focus-visible { outline-offset: -3px !important; }
/* Gradio's empty toolbar and its divider after the last link would show as stray dots. */
.icon-button-wrapper:not(:has(button, a)) { display: none !important; }
footer { opacity: 1 !important; }
footer .divider:last-of-type, footer button:last-of-type + .divider { display: none !important; }

@media (max-width: 640px) {
  .gradio-container > .main { padding: .6rem .7rem 1rem !important; }
  .sf-hero { display: block; }
  .sf-hero h1 { font-size: 1.5rem; }
  .sf-hero .sf-synthetic { font-size: .82rem; line-height: 1.4; }
  .sf-actions { flex-wrap: wrap !important; }
  .sf-actions button { padding-left: .3rem !important; padding-right: .3rem !important; font-size: .95rem !important; }
  .sf-actions .primary { font-size: 1rem !important; }
  /* The result is on top, and in the tab Edit it stays visible while the sliders below it are moved. */
  .gradio-container .sf-sides { flex-direction: column-reverse !important; align-items: stretch !important; flex-wrap: nowrap; }
  .gradio-container .sf-out > .sf-result { height: 38vh !important; }
  .gradio-container .sf-edit { flex-direction: column !important; }
  .sf-edit > .sf-beside { display: contents !important; }
  .sf-edit > .sf-beside > .sf-result { order: -1; position: sticky; top: 0; z-index: 100; }
  .sf-edit > .sf-beside > :not(.sf-result) { order: 1; }
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
        # The theme's greys have too little contrast for text and for the outlines of fields.
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        block_border_width="1px",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_700",
        slider_color="*primary_600",
        # The theme's indigo 500 has too little contrast with white text, and as text on its tint.
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        button_border_width="1px",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_hover="*neutral_400",
        button_secondary_border_color_dark="*neutral_500",
        block_label_text_color="*primary_800",
        block_label_text_color_dark="*primary_50",
        block_label_background_fill_dark="*primary_800",
        block_title_text_color="*primary_800",
        block_title_text_color_dark="*primary_50",
        block_title_background_fill_dark="*primary_800",
        checkbox_label_background_fill_selected="*primary_600",
        color_accent="*primary_600",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_200",
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_300",
    )


def hint(text: str) -> gr.HTML:
    """Return a small line that tells what can be uploaded."""
    return gr.HTML(f'<p class="sf-hint">{text}</p>', elem_classes="sf-plain sf-hints")


def lead(text: str) -> gr.HTML:
    """Return the line that tells what a tab is for."""
    return gr.HTML(f'<p class="sf-lead">{text}</p>', elem_classes="sf-plain")


def note(text: str, good: bool) -> str:
    """Return a line about the result of an action, as HTML."""
    return f'<p class="sf-note {"good" if good else "bad"}">{text}</p>'
