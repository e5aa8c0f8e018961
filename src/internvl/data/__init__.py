"""Synthetic pictures with exact answers: what `nano` is trained and measured on.

`skills` is the entry: `(skill, seed, index, split) -> DataSample`, a pure function. `documents`, `pictures` and `talk`
make the samples; `fonts`, `objects`, `colours` and `scene` are what they draw with; `writer` stores samples, `preview`
shows them.
"""
