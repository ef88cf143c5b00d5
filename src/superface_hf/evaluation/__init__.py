"""Measures a renderer on validation data: ``superface evaluate``."""
