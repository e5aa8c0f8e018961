"""Questions about a window or dialog: read it, find what to press, tell how things are set."""

from __future__ import annotations

import random

from internvl.data.pictures.asking import NUMBER, WORD, YES_NO, Asker, phrase
from internvl.data.pictures.screen_window import BUTTONS, FIELDS, Element, Screen
from internvl.data.sample import Turn, box_answer

TITLE = (
    "What is the title of the window?", "What does the title bar say?", "Read the window title.",
    "Which window is this?",
    "What is the name of the window?", "What is written in the title bar?", "Which title does the window have?",
    "What is this window called?",
)  # fmt: skip
MESSAGE = (
    "What does the message say?", "Read the message.", "What is the text of the dialog?", "What does the dialog say?",
    "Which message is shown?", "What is the user told?", "Read the text in the dialog.", "What message do you see?",
)  # fmt: skip
LOCATE = (
    "Please provide the bounding box coordinate of the region this sentence describes: <ref>{x}</ref>",
    "Where is the <ref>{x}</ref>? Give its bounding box.", "Locate the <ref>{x}</ref>.", "Find the <ref>{x}</ref>.",
    "Give the bounding box of the <ref>{x}</ref>.", "Where do I click for the <ref>{x}</ref>?",
    "Mark the <ref>{x}</ref> on the screen.", "Show me the <ref>{x}</ref> with a box.",
)  # fmt: skip
VALUE = (
    'What is in the field "{x}"?', "What is the value of {x}?", "What is entered for {x}?", 'Read the field "{x}".',
    "Which {x} is given?", "What does the {x} field contain?", "Tell me the text in the field {x}.",
    "{x}: what is entered?",
)  # fmt: skip
CHECKED = (
    'Is "{x}" checked?', 'Is the box "{x}" ticked?', 'Is the option "{x}" on?', 'Is "{x}" selected?',
    'Has "{x}" been ticked?',
    'Is the check box "{x}" marked?', 'Is "{x}" switched on?', 'Does "{x}" have a tick?',
)  # fmt: skip
ALL_CHECKED = (
    "Which options are checked?", "Which boxes are ticked?", "List the checked options.", "What is switched on?",
    "Which check boxes have a tick?", "Name all ticked options.", "Which options are selected?",
    "What has been ticked?",
)  # fmt: skip
COUNT = (
    "How many {n} are there?", "How many {n} do you see?", "Count the {n}.", "How many {n} does the window have?",
    "What is the number of {n}?", "How many {n} are shown?", "How many {n} can be seen?",
    "Tell me the number of {n}.",
)  # fmt: skip
LIST = (
    "Which {n} are there?", "List the {n}.", "What {n} do you see?", "Name all {n} from left to right.",
    "Read the {n}.",
    "What are the labels of the {n}?", "Which {n} does the window have?", "Tell me the {n}.",
)  # fmt: skip
EXISTS = (
    'Is there a button "{x}"?', "Is there a {x} button?",
    'Does the window have a button "{x}"?', "Can you see a {x} button?",
    'Do you see a button labelled "{x}"?', "Can I press {x} here?",
    'Is a button "{x}" shown?', "Does this screen show a {x} button?",
)  # fmt: skip
DEFAULT = (
    "Which button is highlighted?", "Which button stands out?", "What is the default button?",
    "Which button is coloured?",
    "Name the highlighted button.", "Which button is emphasised?", "Which button would Enter press?",
    "What is the main button?",
)  # fmt: skip
ACTIVE = (
    "Which {n} is active?", "Which {n} is selected?", "What is the selected {n}?", "Which {n} is highlighted?",
    "Name the active {n}.", "Which {n} is open?", "Tell me which {n} is selected.", "What {n} is marked?",
)  # fmt: skip


def title(rng: random.Random, screen: Screen) -> Turn | None:
    """The window's title."""
    return Turn(question=phrase(rng, TITLE), answer=screen.of("title")[0].text, metric="anls")


def message(rng: random.Random, screen: Screen) -> Turn | None:
    """What a dialog says."""
    found = screen.of("message")
    return Turn(question=phrase(rng, MESSAGE), answer=found[0].text, metric="anls") if found else None


def _called(element: Element) -> str:
    """How a question calls an element: "Save button"."""
    role = {"entry": "menu entry"}.get(element.role, element.role)
    if element.role == "close":
        return element.text
    return "title" if role == "title" else "message" if role == "message" else f"{element.text} {role}"


def locate(rng: random.Random, screen: Screen) -> Turn | None:
    """Where something is; a click into the box hits it."""
    element = rng.choice(screen.elements)
    name = _called(element)
    return Turn(
        question=phrase(rng, LOCATE, x=name),
        answer=box_answer(name, [element.box], screen.image.size),
        metric="iou@0.5",
    )


def field_value(rng: random.Random, screen: Screen) -> Turn | None:
    """What a field holds."""
    fields = screen.of("field")
    if not fields:
        return None
    chosen = rng.choice(fields)
    return Turn(question=phrase(rng, VALUE, x=chosen.text), answer=chosen.value, metric="anls")


def checked(rng: random.Random, screen: Screen) -> Turn | None:
    """Whether a box is ticked, or which are."""
    boxes = screen.of("check box")
    if not boxes:
        return None
    if rng.random() < 0.3:
        on = [box.text for box in boxes if box.on]
        return Turn(question=phrase(rng, ALL_CHECKED), answer=", ".join(on) or "none", metric="anls")
    box = rng.choice(boxes)
    return Turn(
        question=phrase(rng, CHECKED, YES_NO, x=box.text), answer="yes" if box.on else "no", metric="yesno"
    )


_COUNTED = {
    "button": ("buttons",),
    "check box": ("check boxes",),
    "field": ("text fields", "fields"),
    "tab": ("tabs",),
    "menu": ("menus",),
}


def count(rng: random.Random, screen: Screen) -> Turn | None:
    """How many of a role there are; window buttons (close) do not count as buttons, so "labelled" is said."""
    role = rng.choice([role for role in _COUNTED if screen.of(role)] or ["button"])
    noun = rng.choice(_COUNTED[role])
    if role == "button":
        noun = "labelled buttons"
    answer = str(len(screen.of(role)))
    return Turn(question=phrase(rng, COUNT, NUMBER, n=noun), answer=answer, metric="exact_number")


def list_labels(rng: random.Random, screen: Screen) -> Turn | None:
    """The labels of a role, in reading order."""
    role = rng.choice(
        [role for role in ("button", "tab", "menu", "entry") if len(screen.of(role)) > 1] or [""]
    )
    found = screen.of(role)
    if not found:
        return None
    noun = {"button": "buttons", "tab": "tabs", "menu": "menus", "entry": "menu entries"}[role]
    forms = [form for form in LIST if role != "entry" or "left" not in form]
    return Turn(question=phrase(rng, forms, n=noun), answer=", ".join(e.text for e in found), metric="anls")


def exists(rng: random.Random, screen: Screen) -> Turn | None:
    """Whether there is a button."""
    there = [button.text for button in screen.of("button")]
    yes = bool(there) and rng.random() < 0.5
    name = rng.choice(there) if yes else rng.choice([b for b in BUTTONS if b not in there])
    return Turn(question=phrase(rng, EXISTS, YES_NO, x=name), answer="yes" if yes else "no", metric="yesno")


def default_button(rng: random.Random, screen: Screen) -> Turn | None:
    """The button that stands out."""
    found = [button for button in screen.of("button") if button.on]
    if not found or len(screen.of("button")) < 2:
        return None
    return Turn(question=phrase(rng, DEFAULT, WORD), answer=found[0].text, metric="exact_ci")


def active(rng: random.Random, screen: Screen) -> Turn | None:
    """The active tab, the open menu, the entry under the cursor."""
    choices = [(role, e) for role in ("tab", "menu", "entry") for e in screen.of(role) if e.on]
    if not choices:
        return None
    role, element = rng.choice(choices)
    question = phrase(rng, ACTIVE, WORD, n={"entry": "menu entry"}.get(role, role))
    return Turn(question=question, answer=element.text, metric="exact_ci")


def absent(rng: random.Random, screen: Screen) -> Turn | None:
    """Something that is not on the screen."""
    texts = {element.text for element in screen.elements}
    if screen.of("field") and rng.random() < 0.5:
        name = rng.choice([f for f in FIELDS if f not in texts])
        return Turn(
            question=phrase(rng, VALUE, x=name),
            answer=f"There is no field {name} in the picture.",
            metric="absent",
        )
    name = rng.choice([b for b in BUTTONS if b not in texts]) + " button"
    return Turn(
        question=phrase(rng, LOCATE, x=name), answer=f"There is no {name} in the picture.", metric="absent"
    )


ASKERS: tuple[tuple[Asker[Screen], float], ...] = (
    (title, 1.2), (message, 1.5), (locate, 3.0), (field_value, 2.0), (checked, 1.5), (count, 0.8), (list_labels, 1.0),
    (exists, 0.8), (default_button, 0.8), (active, 1.2), (absent, 0.8),
)  # fmt: skip
