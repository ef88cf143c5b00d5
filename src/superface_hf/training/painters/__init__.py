"""Training of the teacher's painters of mouth and eyes alone."""
