"""Building blocks of the models: norms, attention with a cache, rotary positions, MLPs, mixtures of experts."""
