"""Training the motion diffusion and its lip refiner."""
