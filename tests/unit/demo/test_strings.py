import re
import string
from importlib.resources import files
from pathlib import Path

import pytest

from internvl.demo.strings import COOKIE, Strings, choose_language, tables

LANGUAGES = ("en", "de", "fr", "es", "zh", "ja", "ar")


def _fields(text):
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


def test_the_languages_that_were_promised_are_there():
    assert tuple(tables()) == LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_everything_with_the_same_values_filled_in(language):
    english, table = tables()["en"], tables()[language]
    assert table.keys() == english.keys()
    for key, text in table.items():
        assert text.strip() == text != ""
        assert _fields(text) == _fields(english[key]), key
        assert not re.search(r"[<>&\"]", text), key  # they are put into pages


def test_no_language_was_left_in_english():
    same = {"code", "top_p", "message", "conversation", "video"}
    for language in LANGUAGES[1:]:
        for key, text in tables()[language].items():
            assert text != tables()["en"][key] or key in same or key in ("seconds", "per_second"), (
                language,
                key,
            )


def test_values_are_filled_in():
    assert Strings("de")("picture", number=2) == "Bild 2"


def test_a_language_that_is_not_there_is_english():
    assert Strings("xx")("save") == "Save"


def test_arabic_runs_from_right_to_left():
    assert [Strings(language).direction for language in ("ar", "en")] == ["rtl", "ltr"]


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7, *;q=0.5", "fr"),
        ("it, ja;q=0.4, es;q=0.6", "es"),
        ("zh-Hans-CN", "zh"),
        ("AR", "ar"),
        ("it", "en"),
        ("de;q=0, fr;q=0.1", "fr"),
        ("de;q=.....", "en"),
        (";;;,,,q=1,\x00", "en"),
        ("x" * 100_000, "en"),
    ],
)
def test_the_browsers_languages_decide(header, language):
    assert choose_language({}, header) == language


def test_the_menu_decides_over_the_browser():
    assert choose_language({COOKIE: "ja"}, "fr") == "ja"
    assert choose_language({COOKIE: "<script>"}, "fr") == "fr"


def test_every_text_is_used_somewhere():
    package = files("internvl.demo")
    sources = [each for each in package.iterdir() if each.name.endswith(".py")]
    code = "".join(each.read_text() for each in (*sources, package.joinpath("static/page.js")))
    for key in tables()["en"]:
        assert re.search(rf"[\"']{key}[\"']", code) or key.startswith("example_"), key


def test_the_examples_are_the_repositorys():
    folder = Path(__file__).parents[3] / "examples"
    for each in files("internvl.demo").joinpath("examples").iterdir():
        assert each.read_bytes() == (folder / each.name).read_bytes()
    assert all(each.is_symlink() for each in folder.glob("*.png"))
