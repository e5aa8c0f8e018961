"""The Python face: a pipeline, its call forms, and conversations.

No module one level up may be called `pipeline`: importing it would hide the function `internvl.pipeline`.
"""
