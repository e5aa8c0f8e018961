"""The skill `screen`: simple windows, dialogs and pages; read them, find what to press, tell how things are set."""

from __future__ import annotations

import random

from internvl.data.pictures.asking import ask
from internvl.data.pictures.screen_questions import ASKERS
from internvl.data.pictures.screen_window import draw_screen
from internvl.data.sample import Assets, DataSample, Split


def make_screen(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Draw a window or a dialog and ask about it."""
    screen = draw_screen(rng, split)
    turns = ask(rng, screen, ASKERS, rng.randint(2, 6))
    truth = {
        "elements": [
            {"role": e.role, "text": e.text, "box": list(e.box), "value": e.value, "on": e.on}
            for e in screen.elements
        ]
    }
    return DataSample(images=[screen.image], turns=turns, truth=truth, skill="screen")
