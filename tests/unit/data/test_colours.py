"""A drawn colour has one name."""

import random

from internvl.data.colours import COLOURS, draw_colour


def test_colours_of_different_names_do_not_meet():
    rng = random.Random(0)
    drawn = {name: [draw_colour(rng, name) for _ in range(50)] for name in COLOURS}
    for a in COLOURS:
        for b in COLOURS:
            if a < b:
                assert not set(drawn[a]) & set(drawn[b])
