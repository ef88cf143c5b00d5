"""Windows on mouths and eyes, for training their painters alone."""
