"""The networks, one folder each: configuration, modelling, and the preparation of inputs."""
