"""Takes the pictures of the web demo in ``docs/images``: ``python tests/make_space_images.py``, with the embedded weights."""

from __future__ import annotations

import io
from pathlib import Path

from chromium import launched
from PIL import Image
from space_server import serving

from superface_hf.space import Studio

FOLDER = Path(__file__).parents[1] / "docs" / "images"
DEVICES = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    },
}
SECOND = 1.2  # of the example, in the middle of a word


def main() -> None:
    with serving(Studio()) as site, launched("--disable-gpu", needs="gradio") as chromium:
        for name, device in DEVICES.items():
            context = chromium.new_context(**device)
            page = context.new_page()
            page.goto(site.url)
            page.wait_for_function("document.querySelector('#talk-result video')?.readyState > 2", timeout=180_000)
            page.evaluate(
                """second => new Promise(done => {
                    const video = document.querySelector('#talk-result video');
                    video.pause();
                    video.onseeked = done;
                    video.currentTime = second;
                })""",
                SECOND,
            )
            path = FOLDER / f"space_{name}.jpg"
            Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, quality=88)
            print(path)
            context.close()


if __name__ == "__main__":
    main()
