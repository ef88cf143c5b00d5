"""The networks, one folder each: configuration, modelling, and what prepares their inputs."""
