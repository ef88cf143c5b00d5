"""Training of the made-up portraits: the face space, its prior, and what a voice tells of both."""
