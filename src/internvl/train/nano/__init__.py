"""How the first nano was trained: single pictures and dense heads, in stages (docs/nano.md)."""
