"""The skill `pair`: two pictures of one scene or of two; what differs, which one shows it, whether they are alike."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

from PIL import Image

from internvl.data.colours import COLOURS
from internvl.data.objects import SHAPES
from internvl.data.pictures.art import find_art
from internvl.data.pictures.asking import NUMBER, WORD, YES_NO, Asker, ask, phrase
from internvl.data.pictures.english import everyday, is_counted, is_plural, plural, with_article
from internvl.data.pictures.scene import absent_names, choose_kinds, fitting_ground, spread
from internvl.data.pictures.scene_view import full_name
from internvl.data.pictures.shapes import COLOURS_ALIKE, SHAPES_ALIKE, absent_shapes, apart
from internvl.data.pictures.things import Box, Kind, Layout, Thing, compose, draw_thing
from internvl.data.sample import Assets, DataSample, Split, Turn, box_answer

SIZES = ((336, 336), (384, 384), (448, 448), (448, 336), (336, 448))
ORDINALS = ("first", "second")
CHANGES = ("added", "removed", "replaced", "moved", "none")
SAME = (
    "Are the two pictures the same or different?", "Are the images identical or not? Answer same or different.",
    "Is there any difference between the two pictures? Answer same or different.", "Same or different?",
    "Do the two images show exactly the same? Answer same or different.", "Are these pictures the same or different?",
    "Do the pictures differ? Answer same or different.", "Compare the images: same or different?",
)  # fmt: skip
DIFFERENCE = (
    "What is the difference between the two pictures?", "Spot the difference.",
    "What has changed from the first picture to the second?",
    "What is different in the second image?", "How does Image-2 differ from Image-1?",
    "Find the difference between the images.",
    "Compare the two pictures: what changed?", "Which change was made between the pictures?",
)  # fmt: skip
WHICH = (
    "Which picture shows {x}?", "In which image is there {x}?", "Which of the two images contains {x}?",
    "Is {x} in the first or in the second picture?", "Where is {x}: first or second picture?",
    "Which image has {x}, the first or the second?", "Find the picture with {x}: first or second?",
    "{X}: first or second image?",
)  # fmt: skip
MORE = (
    "Which picture has more {n}?", "Which image shows more {n}?", "In which picture are there more {n}?",
    "Does the first or the second picture have more {n}?",
    "Where do you count more {n}, in the first or the second picture?",
    "More {n}: first or second image?", "Which of the two has the larger number of {n}?",
    "Which image contains more {n}?",
)  # fmt: skip
COUNT = (
    "How many {n} are in the {i} picture?", "How many {n} does the {i} image show?",
    "Count the {n} in the {i} picture.",
    "How many {n} are there in the {i} image?", "What is the number of {n} in the {i} picture?",
    "In the {i} picture, how many {n} do you see?", "The {i} image: how many {n}?",
    "How many {n} can you see in the {i} one?",
)  # fmt: skip
COUNT_BOTH = (
    "How many {n} are there in both pictures together?", "How many {n} do the two images show in total?",
    "Count the {n} in both pictures.", "What is the total number of {n} in the two images?",
    "Over both pictures, how many {n} are there?", "Altogether, how many {n} do you see in the two pictures?",
    "Add up the {n} of both images.", "How many {n} are in the two pictures combined?",
)  # fmt: skip
COMMON = (
    "What do both pictures show?", "Which object is in both pictures?", "What is common to the two images?",
    "Name the object that both images have.", "Which thing appears twice, once in each picture?",
    "What can be seen in both images?", "Which object do the pictures share?",
    "What is in the first and also in the second picture?",
)  # fmt: skip
CHANGED_BOX = (
    "Where in the second picture is the change? Give a bounding box.",
    "Mark the difference in the second image with a box.",
    "Give the bounding box of what changed in Image-2.", "Detect the changed object in the second picture.",
    "Which box of the second image holds the difference?", "Locate the change in the second picture.",
    "Show with a bounding box what is new in Image-2.", "Box the difference in the second picture.",
)  # fmt: skip
BOTH_SHOW = (
    "Do both pictures show {x}?", "Is {x} in both images?", "Can {x} be seen in both pictures?",
    "Do the two images both contain {x}?",
    "Is there {x} in each of the pictures?", "Does each image show {x}?", "Do you see {x} in both pictures?",
    "Both pictures have {x}: is that right?",
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Pair:
    """Two pictures and what was changed between them."""

    layouts: tuple[Layout, Layout]
    change: str | None
    """One of CHANGES; None: two scenes that have nothing to do with each other."""
    before: Thing | None = None
    """What was changed, as it was."""
    after: Thing | None = None
    absent: tuple[str, ...] = ()

    def counts(self, i: int) -> Counter[str]:
        """How many there are of each full name in picture `i`."""
        return Counter(full_name(thing) for thing in self.layouts[i].things)


def make_pair(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Make two pictures, mostly one scene before and after a change, and ask about both."""
    book = find_art(assets)
    use_shapes = book is None or rng.random() < 0.3
    number = rng.randint(1, 6)
    if use_shapes or book is None:
        shapes, colours = apart(rng, SHAPES, 3, SHAPES_ALIKE), apart(rng, COLOURS, 3, COLOURS_ALIKE)
        absent = tuple(absent_shapes(rng, shapes, colours))
        some = [Kind(rng.choice(shapes), colour=rng.choice(colours)) for _ in range(4)]
        kinds = list({(kind.name, kind.colour): kind for kind in some}.values())
    else:
        kinds = choose_kinds(rng, book, split, rng.randint(2, 4))
        absent = tuple(absent_names(rng, book, kinds, split))
    if rng.random() < 0.3:
        pair = _two_scenes(rng, kinds, split)
    else:
        pair = _changed(rng, kinds, number, split)
    pair.absent = absent
    turns = ask(rng, pair, ASKERS, rng.randint(2, 5))
    truth = {
        "pictures": [layout.truth() for layout in pair.layouts],
        "change": pair.change,
        "before": list(pair.before.box) if pair.before else None,
        "after": list(pair.after.box) if pair.after else None,
    }
    return DataSample(
        images=[layout.image for layout in pair.layouts], turns=turns, truth=truth, skill="pair"
    )


def _two_scenes(rng: random.Random, kinds: list[Kind], split: Split) -> Pair:
    """Two scenes whose kinds overlap by chance."""
    layouts = []
    for _ in range(2):
        some = rng.sample(kinds, rng.randint(1, len(kinds)))
        ground = fitting_ground(rng, rng.choice(SIZES), some, split)
        layouts.append(
            compose(rng, ground, spread(rng, some, max(len(some), rng.randint(1, 6))), split=split)
        )
    return Pair(layouts=(layouts[0], layouts[1]), change=None)


def _changed(rng: random.Random, kinds: list[Kind], number: int, split: Split) -> Pair:
    """One scene, and the same with one change."""
    *shown, spare = kinds if len(kinds) > 1 else (*kinds, kinds[0])
    ground = fitting_ground(rng, rng.choice(SIZES), kinds, split)
    first = compose(rng, ground, spread(rng, shown, max(number, len(shown))), split=split, worn=False)
    change = rng.choice([c for c in CHANGES if c != "replaced" or spare not in shown])
    things = list(first.things)
    before: Thing | None = None
    after: Thing | None = None
    if change in ("removed", "replaced", "moved"):
        before = rng.choice(things)
        things.remove(before)
        if change == "removed" and not things:
            change, before, things = "none", None, list(first.things)
    if change in ("added", "moved"):
        kind = before.kind if before else rng.choice(kinds)
        picture = (
            before.picture
            if before
            else draw_thing(rng, kind, int(min(first.size) * 0.22), ground, split=split)
        )
        place = _far_place(rng, picture.size, first.size, [t.box for t in things], before)
        if place is None:
            change, before, things = "none", None, list(first.things)
        else:
            after = _thing_at(kind, picture, place)
    elif change == "replaced" and before:
        picture = draw_thing(rng, spare, int(before.extent), ground, split=split)
        w, h = before.box[2] - before.box[0], before.box[3] - before.box[1]
        scale = min(1.0, w / picture.width, h / picture.height)
        if scale < 1:
            picture = picture.resize(
                (max(1, int(picture.width * scale)), max(1, int(picture.height * scale)))
            )
        after = _thing_at(spare, picture, before.box[:2])
    second = Layout(image=ground.image.copy(), ground=ground, things=[*things, after] if after else things)
    for thing in second.things:
        second.image.paste(thing.picture, thing.box[:2], thing.picture)
    return Pair(layouts=(first, second), change=change, before=before, after=after)


def _thing_at(kind: Kind, picture: Image.Image, place: tuple[int, int]) -> Thing:
    x, y = place
    return Thing(kind=kind, box=(x, y, x + picture.width, y + picture.height), picture=picture)


def _far_place(
    rng: random.Random, size: tuple[int, int], canvas: tuple[int, int], taken: list[Box], before: Thing | None
) -> tuple[int, int] | None:
    """A free place, well away from where the thing was."""
    far = 0.3 * min(canvas)
    for _ in range(80):
        x, y = (
            rng.randint(2, max(2, canvas[0] - size[0] - 2)),
            rng.randint(2, max(2, canvas[1] - size[1] - 2)),
        )
        box = (x, y, x + size[0], y + size[1])
        if box[2] > canvas[0] or box[3] > canvas[1]:
            return None
        if any(
            box[0] < b[2] + 3 and b[0] < box[2] + 3 and box[1] < b[3] + 3 and b[1] < box[3] + 3 for b in taken
        ):
            continue
        if before and abs(x - before.box[0]) + abs(y - before.box[1]) < far:
            continue
        return x, y
    return None


def same(rng: random.Random, pair: Pair) -> Turn | None:
    """Whether the pictures are the same; often the other questions give it away, so it comes with equal odds."""
    if pair.change is None or (pair.change != "none" and rng.random() < 0.6):
        return None
    return Turn(
        question=rng.choice(SAME), answer="same" if pair.change == "none" else "different", metric="exact_ci"
    )


def difference(rng: random.Random, pair: Pair) -> Turn | None:
    """What was changed, in a sentence."""
    before, after = pair.before, pair.after
    if pair.change is None:
        return None
    if pair.change == "added" and after:
        answer = f"{_one_was(full_name(after))} added."
    elif pair.change == "removed" and before:
        answer = f"{_one_was(full_name(before))} removed."
    elif pair.change == "replaced" and before and after:
        answer = f"{_one_was(full_name(before))} replaced by {with_article(full_name(after))}."
    elif pair.change == "moved" and before and after:
        dx, dy = after.centre[0] - before.centre[0], after.centre[1] - before.centre[1]
        if min(abs(dx), abs(dy)) > 0.6 * max(abs(dx), abs(dy)):
            return None  # neither across nor up and down
        way = ("right" if dx > 0 else "left") if abs(dx) > abs(dy) else ("down" if dy > 0 else "up")
        answer = f"{_one_was(full_name(before))} moved {'to the ' if abs(dx) > abs(dy) else ''}{way}."
    else:
        answer = "There is no difference."
    return Turn(question=rng.choice(DIFFERENCE), answer=answer, metric="anls")


def _one_was(name: str) -> str:
    words = with_article(name)
    return f"{words[0].upper()}{words[1:]} {'were' if is_plural(name) else 'was'}"


def which(rng: random.Random, pair: Pair) -> Turn | None:
    """In which picture something is: one, both or none."""
    counts = pair.counts(0), pair.counts(1)
    only = [(name, i) for i in (0, 1) for name in counts[i] if name not in counts[1 - i]]
    dice = rng.random()
    if dice < 0.15 and pair.absent:
        name, answer, metric = rng.choice(pair.absent), "neither", "exact_ci"
    elif dice < 0.3 and set(counts[0]) & set(counts[1]):
        name, answer, metric = rng.choice(sorted(set(counts[0]) & set(counts[1]))), "both", "exact_ci"
    elif only:
        name, i = rng.choice(only)
        answer, metric = ORDINALS[i], "exact_ci"
    else:
        return None
    spoken = with_article(everyday(name) if rng.random() < 0.4 else name)
    question = rng.choice(WHICH).format(x=spoken, X=spoken[0].upper() + spoken[1:])
    return Turn(question=question, answer=answer, metric=metric)


def more(rng: random.Random, pair: Pair) -> Turn | None:
    """Which picture has more of something."""
    names = [n for n in {**pair.counts(0), **pair.counts(1)} if is_counted(n)]
    choices = [(plural(n), pair.counts(0)[n], pair.counts(1)[n]) for n in names]
    choices.append(("objects", len(pair.layouts[0].things), len(pair.layouts[1].things)))
    unequal = [(n, a, b) for n, a, b in choices if a != b]
    if not unequal:
        return None
    noun, a, b = rng.choice(unequal)
    return Turn(question=phrase(rng, MORE, WORD, n=noun), answer=ORDINALS[a < b], metric="exact_ci")


def count(rng: random.Random, pair: Pair) -> Turn | None:
    """How many of something are in one picture, or in both."""
    i = rng.randrange(2)
    counts = pair.counts(0), pair.counts(1)
    names = [n for n in {**counts[0], **counts[1]} if is_counted(n)]
    if names and rng.random() < 0.7:
        name = rng.choice(names)
        noun, numbers = plural(name), (counts[0][name], counts[1][name])
    else:
        noun, numbers = "objects", (len(pair.layouts[0].things), len(pair.layouts[1].things))
    if rng.random() < 0.4:
        return Turn(
            question=phrase(rng, COUNT_BOTH, NUMBER, n=noun), answer=str(sum(numbers)), metric="exact_number"
        )
    question = phrase(rng, COUNT, NUMBER, n=noun, i=ORDINALS[i])
    return Turn(question=question, answer=str(numbers[i]), metric="exact_number")


def common(rng: random.Random, pair: Pair) -> Turn | None:
    """The one kind that both pictures show."""
    shared = set(pair.counts(0)) & set(pair.counts(1))
    if pair.change is not None or len(shared) != 1:
        return None
    name = shared.pop()
    return Turn(question=phrase(rng, COMMON, WORD), answer=name, metric="any_of_names")


def both_show(rng: random.Random, pair: Pair) -> Turn | None:
    """Whether both pictures show something."""
    counts = pair.counts(0), pair.counts(1)
    yes = rng.random() < 0.5
    names = [n for n in {**counts[0], **counts[1]} if (n in counts[0] and n in counts[1]) == yes]
    if not names:
        return None
    question = phrase(rng, BOTH_SHOW, YES_NO, x=with_article(rng.choice(names)))
    return Turn(question=question, answer="yes" if yes else "no", metric="yesno")


def changed_box(rng: random.Random, pair: Pair) -> Turn | None:
    """Where the change lies in the second picture."""
    if pair.change == "none":
        return Turn(question=rng.choice(CHANGED_BOX), answer="There is no difference.", metric="absent")
    if pair.after is None:
        return None
    answer = box_answer(full_name(pair.after), [pair.after.box], pair.layouts[1].size)
    return Turn(question=rng.choice(CHANGED_BOX), answer=answer, metric="iou@0.5")


ASKERS: tuple[tuple[Asker[Pair], float], ...] = (
    (same, 1.5), (difference, 3.0), (which, 2.5), (more, 1.2), (count, 1.2), (common, 1.5), (both_show, 0.8),
    (changed_box, 1.0),
)  # fmt: skip
