"""The linear face model over the 478-point mesh."""
