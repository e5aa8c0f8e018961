"""The models: tiles -> vision features -> image embeddings -> logits. Maths only: no files, prompts or tokenizers."""
