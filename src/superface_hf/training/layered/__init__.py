"""Train the teacher on layers, from shards of packed clips to weights in a few minutes of a GPU.

``python -m superface_hf.data.layered.pack`` labels and packs, ``superface train layered-teacher`` trains.
"""
