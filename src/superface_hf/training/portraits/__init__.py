"""Training of the made-up portraits: the face space, its prior, and the heads that predict from a voice."""
