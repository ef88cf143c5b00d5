"""Training of the teacher's mouth painter alone."""
