"""Numbers as people and models write them."""

from __future__ import annotations

import re
import unicodedata

_WORDS = {
    word: float(value)
    for value, word in enumerate((
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
        "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
    ))
} | {"no": 0.0, "none": 0.0}  # fmt: skip
_NUMBER = re.compile(
    r"(?<![\w.,])[-−–]?\s?[$€£¥]?\s?(\d{1,3}(?:[  ']\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)*)(?:[eE]([+-]?\d{1,2}))?"
    r"|\b(" + "|".join(_WORDS) + r")\b",
    re.IGNORECASE,
)


def find_number(text: str) -> float | None:
    """Return the first number in a text: digits of any script, separators, signs, words up to twenty; else None.

    A comma before exactly three last digits, and every repeated separator, parts thousands; otherwise the last
    separator is the decimal point.

    >>> find_number("about 1,234.5 km"), find_number("-3,5"), find_number("There are two."), find_number("none left")
    (1234.5, -3.5, 2.0, 0.0)
    """
    found = _NUMBER.search(_latin_digits(text))
    if found is None:
        return None
    digits, exponent, word = found.groups()
    if word is not None:
        return _WORDS[word.lower()]
    value = float(_plain(digits)) * 10.0 ** int(exponent or 0)
    return -value if found.group()[0] in "-−–" else value


def _latin_digits(text: str) -> str:
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)


def _plain(digits: str) -> str:
    """Remove what parts thousands; write the decimal separator as a point."""
    digits = re.sub(r"[  ']", "", digits)
    marks = re.findall(r"[.,]", digits)
    if not marks:
        return digits
    last = marks[-1]
    thousands = marks.count(last) > 1 or (len(marks) == 1 and last == "," and re.search(r",\d{3}$", digits))
    if thousands:
        return re.sub(r"[.,]", "", digits)
    whole, _, fraction = digits.rpartition(last)
    return re.sub(r"[.,]", "", whole) + "." + fraction
