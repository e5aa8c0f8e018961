"""Training: recipe -> dataset -> batch -> losses -> checkpoints that resume exactly. So far it trains `nano`."""
