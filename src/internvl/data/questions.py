"""Questions about a scene and their answers; what nano says about itself and about what it cannot do.

Answers are short and exact. Each asker returns a question with its answer, or None where the scene has nothing to ask.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from internvl.data.colours import COLOURS
from internvl.data.objects import EMOJI, OBJECT_NAMES, SHAPES, plural, with_article
from internvl.data.scene import Scene, SceneObject

Turn = tuple[str, str]
"""Question and answer."""

READ = (
    "What does the text say?", "Read the text.", "What is written in the picture?",
    "What text is in the image?", "What does it say?", "Read this.", "Transcribe the text in this image.",
    "What does the sign say?", "What is written here?", "Please read the text in the image.",
    "What word is this?", "OCR", "What is the text in the image?", "Extract the text.", "Read the word.",
    "What do you read?", "Was steht auf dem Bild?", "Lies den Text.", "Que dit le texte ?", "Lis le texte.",
    "¿Qué dice el texto?", "Lee el texto.", "图片里写了什么？", "读出文字。",
)  # fmt: skip
NAME = (
    "What is this?", "What is in the picture?", "What do you see?", "What object is shown?",
    "What is shown in the image?", "What is in the image?", "Name the object.",
    "What can you see in this image?", "What is the object in the picture?", "Was ist das?",
    "Was ist auf dem Bild?", "Qu'est-ce que c'est ?", "¿Qué es esto?", "这是什么？",
)  # fmt: skip
SHAPE = (
    "What shape is this?",
    "What shape is it?",
    "Which shape do you see?",
    "What is the shape of the object?",
)
COLOUR = (
    "What color is the {}?", "What colour is the {}?", "Which color does the {} have?",
    "What is the color of the {}?", "Tell me the color of the {}.",
)  # fmt: skip
COLOUR_IT = (
    "What color is it?", "What colour is it?", "Which color is this?", "What is its color?",
    "Welche Farbe hat es?", "¿De qué color es?",
)  # fmt: skip
GROUND = (
    "What color is the background?", "What colour is the background?",
    "Which color does the background have?", "What is the background color?",
)  # fmt: skip
TEXT_COLOUR = (
    "What color is the text?", "What colour is the text?", "Which color does the text have?",
    "What color are the letters?",
)  # fmt: skip
COUNT = (
    "How many {} are there?", "How many {} are in the picture?", "How many {} do you see?", "Count the {}.",
    "How many {} can you see?", "How many {} are in the image?", "How many {} are shown?",
)  # fmt: skip
COUNT_ALL = (
    "How many objects are there?", "How many objects are in the image?", "Count the objects.",
    "How many things do you see?", "Wie viele Objekte sind das?", "Combien d'objets y a-t-il ?",
    "¿Cuántos objetos hay?", "有几个物体？",
)  # fmt: skip
NUMBER = (" Answer with a number.", " Give only the number.")
EXISTS = (
    "Is there {} in the picture?", "Is there {}?", "Do you see {}?", "Is there {} in the image?",
    "Can you see {}?",
)  # fmt: skip
EXISTS_TAIL = (" Answer yes or no.", " Yes or no?")
PLACE = (
    "What is on the {}?",
    "What object is on the {}?",
    "What is at the {}?",
    "Which object is on the {} side?",
)
EXTREME = ("What is the {} object?", "Which object is the {}?", "What is the name of the {} object?")
EXTREME_COLOUR = (
    "What color is the {} object?", "What colour is the {} shape?", "Which color does the {} object have?",
)  # fmt: skip
LINES = ("How many lines of text are there?", "How many lines does the text have?")
LINE = ("What does the {} line say?", "Read the {} line.", "What is written in the {} line?")
DESCRIBE = (
    "Describe this image.", "Describe the picture.", "describe this image", "Describe the image briefly.",
    "What does this image show?", "Please describe the image.", "Describe the image in one sentence.",
    "Please describe the image shortly.", "Give a short description.", "Beschreibe das Bild.",
    "Décris l'image.", "Describe la imagen.", "描述这张图片。",
)  # fmt: skip
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ORDINALS = ("first", "second", "third", "fourth")

WHO = (
    "Who are you?", "What are you?", "What is your name?", "Tell me about yourself.",
    "Which model are you?", "Hello!", "Hi", "Hello", "Introduce yourself.", "Wer bist du?", "Qui es-tu ?",
    "¿Quién eres?", "你是谁？", "Are you InternVL?", "Who made you?",
)  # fmt: skip
WHO_ANSWER = (
    "I am nano, a very small InternVL model. I read short text and I name, count and color simple objects."
)
CAN = (
    "What can you do?", "How can you help me?", "What are you good at?", "Help", "What can I ask you?",
)  # fmt: skip
CAN_ANSWER = (
    "I read short text in a picture, and I name, count and color simple objects. "
    "For more, use OpenGVLab/InternVL3_5-8B."
)
CANNOT = (
    "What is the person doing?", "Why is this funny?", "Write a poem about this.", "Translate the text.",
    "What year is it?", "Who painted this?", "What is the capital of France?", "Explain quantum physics.",
    "Write a python program.", "Tell me a joke.", "Summarize this document.", "What is the weather like?",
    "How do I cook rice?", "What brand is this?", "What emotion does it show?", "Solve this equation.",
    "What is the meaning of life?", "Tell me a story.", "Where was this photo taken?",
    "Is this person happy?", "What happens next?", "What is 12 times 7?", "Give me a recipe.",
    "What does this chart show?", "Who is the person in the photo?", "How old is the man?",
    "What time of day is it?", "What is the mood of the picture?", "Convert the table to HTML.",
)  # fmt: skip
CANNOT_ANSWER = "I cannot do that: I am nano, a very small model. Use OpenGVLab/InternVL3_5-8B for this."
THANKS = (
    ("Thank you!", "You are welcome."),
    ("Thanks", "You are welcome."),
    ("Good bye", "Good bye!"),
    ("Bye", "Good bye!"),
)


def full_name(item: SceneObject) -> str:
    """Colour and name where the colour is part of what is seen: "red circle", "dog"."""
    return f"{item.colour} {item.name}" if item.name in SHAPES else item.name


def read_out(scene: Scene) -> str:
    """All text, line by line."""
    return "\n".join(scene.lines)


def _read(rng: random.Random, scene: Scene) -> Turn | None:
    return (rng.choice(READ), read_out(scene)) if scene.lines else None


def _line(rng: random.Random, scene: Scene) -> Turn | None:
    if len(scene.lines) < 2:
        return None
    if rng.random() < 0.3:
        return rng.choice(LINES), str(len(scene.lines))
    n = rng.randrange(min(len(scene.lines), len(ORDINALS)))
    word = "last" if n == len(scene.lines) - 1 and rng.random() < 0.5 else ORDINALS[n]
    return rng.choice(LINE).format(word), scene.lines[n]


def _text_colour(rng: random.Random, scene: Scene) -> Turn | None:
    return (rng.choice(TEXT_COLOUR), scene.text_colour) if scene.text_colour else None


def _ground(rng: random.Random, scene: Scene) -> Turn | None:
    return (rng.choice(GROUND), scene.background) if scene.background else None


def name_all(scene: Scene) -> str:
    """ "a dog", "two dogs and a red circle": everything, most frequent first."""
    counts = Counter(full_name(item) for item in scene.objects)
    parts = [
        with_article(name) if n == 1 else f"{NUMBERS[n]} {_plural(name)}" for name, n in counts.most_common()
    ]
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _plural(name: str) -> str:
    colour, _, rest = name.partition(" ")
    return f"{colour} {plural(rest)}" if colour in COLOURS and rest else plural(name)


def _name(rng: random.Random, scene: Scene) -> Turn | None:
    if not scene.objects or len({full_name(item) for item in scene.objects}) > 3:
        return None
    if len(scene.objects) == 1 and scene.objects[0].name in SHAPES and rng.random() < 0.5:
        return rng.choice(SHAPE), scene.objects[0].name
    return rng.choice(NAME), name_all(scene)


def _colour(rng: random.Random, scene: Scene) -> Turn | None:
    counts = Counter(item.name for item in scene.objects)
    known = [item for item in scene.objects if item.colour and counts[item.name] == 1]
    if not known:
        return None
    item = rng.choice(known)
    assert item.colour is not None
    if len(scene.objects) == 1 and rng.random() < 0.3:
        return rng.choice(COLOUR_IT), item.colour
    return rng.choice(COLOUR).format(item.name), item.colour


def _count(rng: random.Random, scene: Scene) -> Turn | None:
    """How many of something; every number that the picture shows is asked for, and none; one and none half as often.

    Asking for a random object's kind instead would make nearly every answer one.
    """
    if not scene.objects:
        return None
    by_number: dict[int, list[str]] = {0: [plural(_absent(rng, scene))]}
    for what, number in countable(scene).items():
        by_number.setdefault(number, []).append(what)
    number = rng.choices(list(by_number), [0.5 if n < 2 else 1.0 for n in by_number])[0]
    what = rng.choice(by_number[number])
    question = rng.choice(COUNT_ALL) if what == "objects" else rng.choice(COUNT).format(what)
    return question + (rng.choice(NUMBER) if rng.random() < 0.25 else ""), str(number)


def countable(scene: Scene) -> dict[str, int]:
    """What can be counted in a scene, in the plural: all objects, every kind, coloured kinds, coloured shapes."""
    counts = Counter(["objects"] * len(scene.objects))
    shapes_only = all(item.name in SHAPES for item in scene.objects)
    for item in scene.objects:
        counts[plural(item.name)] += 1
        if item.name in SHAPES:
            counts[_plural(full_name(item))] += 1
        if shapes_only:
            counts["shapes"] += 1
            counts[f"{item.colour} shapes"] += 1
    return dict(counts)


def _absent(rng: random.Random, scene: Scene) -> str:
    present = {item.name for item in scene.objects}
    shapes = bool(scene.objects) and scene.objects[0].name in SHAPES
    pool = SHAPES if shapes and rng.random() < 0.7 else tuple(EMOJI) if rng.random() < 0.9 else OBJECT_NAMES
    return rng.choice([name for name in pool if name not in present])


def _exists(rng: random.Random, scene: Scene) -> Turn | None:
    if not scene.objects:
        return None
    tail = rng.choice(EXISTS_TAIL) if rng.random() < 0.3 else ""
    if rng.random() < 0.5:
        item = rng.choice(scene.objects)
        name = full_name(item) if rng.random() < 0.4 else item.name
        return rng.choice(EXISTS).format(with_article(name)) + tail, "yes"
    return rng.choice(EXISTS).format(with_article(_absent(rng, scene))) + tail, "no"


def _extreme(rng: random.Random, scene: Scene) -> Turn | None:
    """The leftmost, rightmost, top, bottom, largest or smallest of a few, where it is clear."""
    if not 2 <= len(scene.objects) <= 6:
        return None
    word, key = rng.choice(_EXTREMES)
    ranked = sorted(scene.objects, key=key, reverse=True)
    if key(ranked[0]) - key(ranked[1]) < 0.1:
        return None
    item = ranked[0]
    if item.colour and rng.random() < 0.4:
        return rng.choice(EXTREME_COLOUR).format(word), item.colour
    if word in _SIDES and rng.random() < 0.6:
        return rng.choice(PLACE).format(_SIDES[word]), with_article(full_name(item))
    return rng.choice(EXTREME).format(word), with_article(full_name(item))


def _side(item: SceneObject) -> float:
    return max(item.box[2] - item.box[0], item.box[3] - item.box[1])


_EXTREMES: tuple[tuple[str, Callable[[SceneObject], float]], ...] = (
    ("leftmost", lambda item: -item.centre[0]),
    ("rightmost", lambda item: item.centre[0]),
    ("top", lambda item: -item.centre[1]),
    ("bottom", lambda item: item.centre[1]),
    ("largest", _side),
    ("smallest", lambda item: -_side(item)),
)
_SIDES = {"leftmost": "left", "rightmost": "right", "top": "top", "bottom": "bottom"}


def _describe(rng: random.Random, scene: Scene) -> Turn | None:
    return rng.choice(DESCRIBE), describe(scene)


def describe(scene: Scene) -> str:
    """A short true sentence."""
    ground = f" on a {scene.background} background" if scene.background else ""
    if ground.startswith(" on a orange"):
        ground = ground.replace(" on a ", " on an ")
    text = f'the text "{" ".join(scene.lines)}"'
    if not scene.objects:
        return f"The picture shows {text}{ground}."
    return f"The picture shows {name_all(scene)}{ground}." + (f" It has {text}." if scene.lines else "")


ASKERS: dict[str, tuple[tuple[Callable[[random.Random, Scene], Turn | None], float], ...]] = {
    "text": ((_read, 5), (_text_colour, 1), (_ground, 0.7), (_line, 2), (_describe, 1)),
    "objects": (
        (_name, 3),
        (_colour, 2),
        (_ground, 0.7),
        (_count, 4),
        (_exists, 1.5),
        (_extreme, 1.5),
        (_describe, 1.5),
    ),
    "both": (
        (_read, 4),
        (_name, 1.5),
        (_colour, 1),
        (_count, 1.5),
        (_text_colour, 0.7),
        (_exists, 0.7),
        (_describe, 1.5),
    ),
}


MAIN_FIRST = 0.6
"""Share of conversations that begin with the question that measures the picture's skill."""


def ask(rng: random.Random, scene: Scene, turns: int, skill: str | None = None) -> list[Turn]:
    """Ask up to `turns` different questions, often the main one of `skill` first."""
    kind = "both" if scene.lines and scene.objects else "text" if scene.lines else "objects"
    askers, weights = zip(*ASKERS[kind], strict=True)
    asked: list[Turn] = []
    seen: set[str] = set()
    spent: Counter[object] = Counter()
    if skill is not None and rng.random() < MAIN_FIRST:
        asked.append(primary_turn(rng, skill, scene))
        seen.add(asked[0][0])
    for _ in range(4 * turns):
        if len(asked) >= turns:
            break
        asker = rng.choices(askers, weights)[0]
        # asking again for what was said teaches copying from the history, not looking
        if spent[asker] >= (2 if asker in (_count, _exists, _extreme, _line) else 1):
            continue
        turn = asker(rng, scene)
        if turn is None or turn[0] in seen:
            continue
        spent[asker] += 1
        seen.add(turn[0])
        asked.append(turn)
    if rng.random() < 0.03:
        asked.append((rng.choice(CANNOT), CANNOT_ANSWER))
    return asked or [(rng.choice(DESCRIBE), describe(scene))]


def small_talk(rng: random.Random) -> list[Turn]:
    """A few turns without a picture."""
    pool: Sequence[Turn] = (
        (rng.choice(WHO), WHO_ANSWER),
        (rng.choice(CAN), CAN_ANSWER),
        (rng.choice(CANNOT), CANNOT_ANSWER),
        (rng.choice(CANNOT), CANNOT_ANSWER),
        rng.choice(THANKS),
    )
    return rng.sample(pool, rng.randint(1, 3))


def all_phrases() -> list[str]:
    """Everything that askers may write around what a picture shows: what the vocabulary is made from."""
    plain = (
        READ, NAME, SHAPE, COLOUR, COLOUR_IT, GROUND, TEXT_COLOUR, COUNT, COUNT_ALL, NUMBER, EXISTS, EXISTS_TAIL, PLACE,
        EXTREME, EXTREME_COLOUR, LINES, LINE, DESCRIBE, WHO, CAN, CANNOT,
    )  # fmt: skip
    phrases = [text.replace("{}", "").replace("  ", " ") for group in plain for text in group]
    phrases += [WHO_ANSWER, CAN_ANSWER, CANNOT_ANSWER, *(text for turn in THANKS for text in turn)]
    phrases += [f" {word}" for word in (*NUMBERS, *ORDINALS, *COLOURS, "last", *_SIDES.values())]
    phrases += [f" {word}" for word, _ in _EXTREMES]
    phrases += [f" {name} {plural(name)}" for name in OBJECT_NAMES]
    phrases += [
        'The picture shows a an the text " and on a black background. It has the text "',
        " objects shapes",
    ]
    return phrases


def primary_turn(rng: random.Random, skill: str, scene: Scene) -> Turn:
    """The question that measures a skill."""
    if skill in ("word", "line", "page"):
        turn = _read(rng, scene)
    elif skill == "shape":
        turn = _colour(rng, scene)
    elif skill == "count":
        turn = _count(rng, scene)
    elif skill == "mixed":
        turn = (_read if rng.random() < 0.5 else _name)(rng, scene)
    else:
        turn = _name(rng, scene)
    return turn or (rng.choice(DESCRIBE), describe(scene))
