"""Pictures that are not documents: scenes of clip art and shapes, charts, pairs, clips, screens.

`art` and `colour_fonts` find the drawings, `grounds` and `things` compose, the module of each skill (`scene`,
`shapes`, `charts`, `languages`, `pairs`, `clips`, `screens`) makes its samples; `data.skills` lists them.
"""
