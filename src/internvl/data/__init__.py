"""Synthetic pictures with exact answers: what `nano` is trained and measured on.

`assets` finds fonts, word lists and object art on this machine; `text_scene`, `object_scene` and `scene` draw;
`questions` asks and answers; `generate` is the entry: `(skill, seed, index) -> Sample`, a pure function.
"""
