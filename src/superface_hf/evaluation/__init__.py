"""Evaluate renderers on validation data: ``superface evaluate``."""
