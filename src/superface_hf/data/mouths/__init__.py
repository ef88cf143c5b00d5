"""Windows on mouths, for training the painter of mouths alone."""
