"""What is said wherever a made-up face appears."""

from __future__ import annotations

DISCLAIMER = (
    "A made-up face. It was drawn from averages of many people; the voice moved only how masculine or feminine and how old it "
    "looks. It is not what the speaker looks like, and cannot be used to identify anybody."
)
