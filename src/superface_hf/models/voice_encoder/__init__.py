"""What a voice sounds like, and the little that it tells of a face."""
