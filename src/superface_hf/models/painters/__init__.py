"""Painters of mouth and eyes: small windows that see, and paint, what no warp can show."""
