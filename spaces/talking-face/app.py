"""The Space: the app of superface-hf, as `superface serve` starts it."""

from superface_hf.space import build, launch

demo = build()

if __name__ == "__main__":
    launch(demo)
