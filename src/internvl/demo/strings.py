"""The words of the demo's page in every language (`strings.json`), and which of them a browser wants."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

#: Set by the language menu.
COOKIE = "internvl_language"
DEFAULT_LANGUAGE = "en"
RIGHT_TO_LEFT = ("ar",)
#: What Gradio calls its own translations.
GRADIO_LOCALES = {"zh": "zh-CN"}

_PREFERENCE = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]{1,35})?\s*(?:;\s*q=([0-9.]{1,5}))?\s*")


@cache
def tables() -> dict[str, dict[str, str]]:
    """Return language -> key -> text; "name" is the language's own name."""
    text = files("internvl.demo").joinpath("strings.json").read_text(encoding="utf-8")
    return json.loads(text)


class Strings:
    """The words of one language: `strings("picture", number=2)`."""

    def __init__(self, language: str = DEFAULT_LANGUAGE) -> None:
        self.language = language if language in tables() else DEFAULT_LANGUAGE

    def __call__(self, key: str, **values: object) -> str:
        """Return a text with its values filled in."""
        return tables()[self.language][key].format(**values)

    @property
    def direction(self) -> str:
        """ "ltr" or "rtl"."""
        return "rtl" if self.language in RIGHT_TO_LEFT else "ltr"


def choose_language(cookies: Mapping[str, str], accept_language: str) -> str:
    """Return the language that the menu set, or the first one of the browser's that we have.

    >>> choose_language({}, "fr-CH, fr;q=0.9, en;q=0.8")
    'fr'
    """
    chosen = cookies.get(COOKIE, "")
    if chosen in tables():
        return chosen
    wishes: list[tuple[float, str]] = []
    for part in accept_language[:1000].split(","):
        match = _PREFERENCE.fullmatch(part)
        if match is None:
            continue
        try:
            quality = float(match[2] or 1)
        except ValueError:
            continue
        if match[1].lower() in tables() and quality > 0:
            wishes.append((-quality, match[1].lower()))
    # stable: among equals the browser's order counts
    return min(wishes, key=lambda wish: wish[0])[1] if wishes else DEFAULT_LANGUAGE
