"""Training: recipe -> dataset -> batch -> losses -> checkpoints that resume exactly."""
