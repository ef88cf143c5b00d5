"""The restorer with a discrete codebook: gives faces the detail that blur, noise, compression or averaging took from them."""
