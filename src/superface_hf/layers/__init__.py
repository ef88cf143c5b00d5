"""A picture in layers: the person moves, the world behind holds still."""
