"""A portrait in layers: the person moves, and the background stays."""
