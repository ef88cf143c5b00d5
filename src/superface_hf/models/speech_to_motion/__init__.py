"""Speech to motion: the diffusion over windows of motion, its statistics, and the lip refiner."""
