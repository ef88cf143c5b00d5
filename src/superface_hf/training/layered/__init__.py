"""Trains the layered teacher on one CUDA device, from shards of packed clips to weights in a few minutes.

``python -m superface_hf.data.layered.pack`` labels and packs, ``python -m superface_hf.training.layered.train`` trains.
"""
