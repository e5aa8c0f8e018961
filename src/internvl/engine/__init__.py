"""embeddings -> tokens -> text: one thread owns the model, everything else talks to it through `Engine`."""
