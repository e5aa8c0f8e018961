"""How often a model is right. `nano` measures the shipped model on generated pictures."""
