"""Synthetic pictures with exact answers: what `nano` is trained and measured on.

`fonts`, `words` and `objects` find what this machine has to draw with; `text_scene`, `object_scene` and `scene` draw;
`questions` asks and answers; `generate` is the entry: `(skill, seed, index) -> Scene`, a pure function.
"""
