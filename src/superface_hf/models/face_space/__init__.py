"""Encode portraits as a few numbers: a linear space of faces in a canonical frame."""
