"""English for the names of things: plural, article, everyday names."""

from __future__ import annotations

import re

from internvl.data.objects import EMOJI

#: CLDR's name -> the word people use, where that is another one: "automobile" -> "car".
EVERYDAY = {
    name: word
    for word, names in EMOJI.items()
    for name in names
    if word != name
    and not re.search("oncoming|fish$|helmet|T-Rex|evergreen|sauropod|pickup|high-speed", name)
}
#: Singular, though they end in s; "ss" and "us" are singular anyway.
_SINGULAR = frozenset(("tennis", "compass", "canvas", "rhinoceros", "iris", "lens", "Christmas"))
_IRREGULAR = {
    "mouse": "mice", "goose": "geese", "ox": "oxen", "fish": "fish", "sheep": "sheep", "deer": "deer", "moose": "moose",
    "bison": "bison", "squid": "squid", "shrimp": "shrimp", "leaf": "leaves", "knife": "knives", "scarf": "scarves",
    "tooth": "teeth", "foot": "feet", "person": "people", "man": "men", "woman": "women", "child": "children",
    "cactus": "cacti", "officer": "officers", "firefighter": "firefighters", "dress": "dresses", "loaf": "loaves",
    "elf": "elves", "wolf": "wolves", "aircraft": "aircraft", "Claus": "Clauses",
}  # fmt: skip
_UNCOUNTED_WORDS = """
bread broccoli corn garlic rice spaghetti popcorn butter salt honey custard bacon sake mate ice soap yarn wood
coral food curry candy luggage dna money fire fondue sushi oden lightning rain snow tennis badminton bowling
hockey lacrosse pong greens bamboo grass shopping camping cooking construction foggy thread beverage
"""
_UNCOUNTED = frozenset(_UNCOUNTED_WORDS.split())
_PREPOSITION = re.compile(r" (?=(?:of|with|without|on|in|behind|for|and|over)\b)")
_SIBILANT = re.compile(r"(s|x|z|ch|sh)$")


def everyday(name: str) -> str:
    """The word that people use for CLDR's name."""
    return EVERYDAY.get(name, name)


def is_counted(name: str) -> bool:
    """Whether "how many Xs" is English for this name."""
    head = _PREPOSITION.split(name)[0].split()[-1]
    return head.lower() not in _UNCOUNTED and " and " not in name


def is_plural(name: str) -> bool:
    """Whether the name is a plural already: "glasses"."""
    return _is_plural_noun(_PREPOSITION.split(name)[0].split()[-1])


def _is_plural_noun(noun: str) -> bool:
    return noun.endswith("s") and not noun.endswith(("ss", "us")) and noun not in _SINGULAR


def plural(name: str) -> str:
    """The plural: "ears of corn", "mice", "glasses"."""
    head, *rest = _PREPOSITION.split(name, maxsplit=1)
    *before, noun = head.split(" ")
    if noun in _IRREGULAR:
        noun = _IRREGULAR[noun]
    elif _is_plural_noun(noun) or noun in _UNCOUNTED:
        pass
    elif _SIBILANT.search(noun):
        noun += "es"
    elif noun.endswith("y") and noun[-2:-1] not in "aeiou":
        noun = noun[:-1] + "ies"
    elif noun in ("potato", "tomato", "mango", "mosquito", "volcano"):
        noun += "es"
    else:
        noun += "s"
    return " ".join([" ".join([*before, noun]), *rest])


def with_article(name: str) -> str:
    """ "an apple", "a unicorn", "glasses"."""
    if is_plural(name) or not is_counted(name) and " and " not in name:
        return name
    if name[0].isupper() and name.split()[0] in ("Santa", "Statue", "Tokyo"):
        return "the " + name if name.startswith("Statue") else name
    vowel = name[0].lower() in "aeiou" and not re.match(r"uni|uku|euro|one", name.lower())
    return ("an " if vowel or re.match(r"x-ray|hourglass|herb\b", name) else "a ") + name


def are(name: str) -> str:
    """The verb for one drawing of this name."""
    return "are" if is_plural(name) else "is"


def joined(parts: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


NUMBERS = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip


def counted(number: int, name: str) -> str:
    """ "a dog", "three dogs"."""
    return with_article(name) if number == 1 else f"{NUMBERS[number]} {plural(name)}"
