"""From what a voice tells to a portrait: the weight of the prior, and diffusion around it."""
