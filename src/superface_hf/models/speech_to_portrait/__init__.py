"""Speech to portrait: the weight of the prior, and the diffusion around it."""
