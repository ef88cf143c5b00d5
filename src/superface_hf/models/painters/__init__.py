"""The painters of mouth and eyes: small networks that paint, in small windows, what no warp can show."""
