"""Typefaces: files of one family, by style and script, some families held out for measuring.

Latin families come from `data.fonts`; what other scripts and handwriting need is listed here, by the beginning of the
file name. Debian: fonts-noto-core, fonts-noto-cjk, and any of the handwriting packages named below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont, features

from internvl.data.coverage import covers
from internvl.data.fonts import HELD_OUT_FAMILIES, find_fonts, font_files
from internvl.data.sample import Split

#: script -> (families to train on, families held out), where `data.fonts` has none
_SCRIPT_FAMILIES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Arab": (("NotoNaskhArabic-", "NotoSansArabic-", "DejaVuSans"), ("NotoKufiArabic-",)),
    "Hebr": (("NotoSansHebrew-", "DejaVuSans", "FreeSans", "FreeSerif"), ("NotoSerifHebrew-",)),
    "Deva": (("NotoSansDevanagari-", "FreeSans"), ("NotoSerifDevanagari-",)),
    "Beng": (("NotoSansBengali-", "FreeSans"), ("NotoSerifBengali-",)),
    "Taml": (("NotoSansTamil-", "FreeSerif"), ("NotoSerifTamil-",)),
    "Thai": (("NotoSansThai-", "NotoLoopedThai-"), ("NotoSerifThai-",)),
    "Hans": (("NotoSansCJK-", "DroidSansFallback", "wqy-zenhei"), ("NotoSerifCJK-", "wqy-microhei", "uming")),
    "Jpan": (("NotoSansCJK-", "ipag", "fonts-japanese-gothic"), ("NotoSerifCJK-", "ipam", "TakaoMincho")),
    "Kore": (("NotoSansCJK-", "NanumGothic", "UnDotum"), ("NotoSerifCJK-", "NanumMyeongjo", "UnBatang")),
}
#: fonts-breip, -rufscript, -humor-sans, -ecolier-court, -joscelyn, -sjfonts, -dkg-handwriting, -comic-neue, -urw-base35
_HAND = ("ComicNeue-Regular", "ComicNeue-Light", "ComicNeue-Italic", "Z003", "Breip", "Rufscript", "Humor-Sans",
         "ecolier", "Joscelyn", "Delphine", "SteveHand", "dkgHandwriting")  # fmt: skip
#: fonts-pecita, -kristi, -femkeklaver, -tomsontalks; without them a narrow italic
_HELD_OUT_HAND = ("Pecita", "Kristi", "FemkeKlaver", "TomsonTalks", "GentiumPlus-Italic")
_MONO = ("Mono", "Courier", "FiraCode", "Inconsolata", "PTM", "Hack")
_SHAPED = frozenset(("Arab", "Deva", "Beng", "Taml", "Thai"))
"""Scripts whose letters join, stack or move: they need libraqm. Hebrew needs it for its direction."""
#: ends of file names: (pattern, style)
_ENDS = (
    (re.compile(r"[-_ ]?(Bold|Demi|RB|75F|77F)$"), "bold"),
    (re.compile(r"[-_ ]?(Italic|Oblique|RI|56F|76F|BookOblique|LightItalic)$"), "italic"),
    (re.compile(r"[-_ ]?(Regular|Roman|Book|_R|55F|57F)$"), "regular"),
)
_NOT_REGULAR = re.compile(
    r"(Light|Medium|Black|Heavy|SemiBold|Semibold|ExtraBold|Retina|Ita|\]|_[A-Z]+|Initials)$"
)
LATIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,:;!?'\"()-/%&$€£#+@=*"


@dataclass(frozen=True, slots=True)
class Typeface:
    """Files of one family; a style that a family lacks is its regular one."""

    name: str
    regular: str
    bold: str
    italic: str
    mono: bool = False
    shaped: bool = False
    """Needs libraqm: joining letters, or from right to left."""


def _family_and_style(stem: str) -> tuple[str, str]:
    for pattern, style in _ENDS:
        if match := pattern.search(stem):
            return stem[: match.start()], style
    return stem, "regular"


def _group(paths: Iterable[str], *, shaped: bool = False) -> list[Typeface]:
    """Join files of one family that differ in style."""
    families: dict[str, dict[str, str]] = {}
    for path in paths:
        family, style = _family_and_style(Path(path).stem)
        if not _NOT_REGULAR.search(family):
            families.setdefault(family, {}).setdefault(style, path)
    return [
        Typeface(
            name=family,
            regular=styles["regular"],
            bold=styles.get("bold", styles["regular"]),
            italic=styles.get("italic", styles["regular"]),
            mono=any(mark in family for mark in _MONO),
            shaped=shaped,
        )
        for family, styles in families.items()
        if "regular" in styles
    ]


@lru_cache(maxsize=64)
def find_typefaces(script: str, split: Split, letters: str = LATIN) -> tuple[Typeface, ...]:
    """Return the families of a script that have all of `letters`; empty if none is installed.

    Raises:
        ConfigError: There is no font at all (`find_fonts`).
    """
    if script in _SCRIPT_FAMILIES:
        if not features.check("raqm") and (script in _SHAPED or script == "Hebr"):
            return ()
        prefixes = _SCRIPT_FAMILIES[script][split == "held_out"]
        paths = [str(path) for path in font_files() if path.stem.startswith(prefixes)]
        found = _group(paths, shaped=script in _SHAPED or script == "Hebr")
    else:
        book = find_fonts()
        found = _group(book.held_out if split == "held_out" else book.trained)
    return tuple(face for face in found if covers(face.regular, letters) and covers(face.bold, letters))


@lru_cache(maxsize=64)
def find_files(script: str, split: Split, letters: str = LATIN) -> tuple[str, ...]:
    """Return every font file of a script that has all of `letters`: all weights and slants."""
    if script in _SCRIPT_FAMILIES:
        faces = find_typefaces(script, split, letters)
        return tuple(dict.fromkeys(path for face in faces for path in (face.regular, face.bold)))
    book = find_fonts()
    files = book.held_out if split == "held_out" else (*book.trained, *find_hands(split))
    return tuple(dict.fromkeys(path for path in files if covers(path, letters)))


@lru_cache(maxsize=4)
def find_hands(split: Split) -> tuple[str, ...]:
    """Return font files that look like handwriting, Latin letters only; slanted print where none is installed.

    Raises:
        ConfigError: There is no font at all (`find_fonts`).
    """
    wanted, other = (_HELD_OUT_HAND, _HAND) if split == "held_out" else (_HAND, HELD_OUT_FAMILIES)
    files = [str(p) for p in font_files() if p.stem.startswith(wanted) and not p.stem.startswith(other)]
    files = [path for path in files if covers(path, LATIN)]
    if not files:
        book = find_fonts()
        printed = [
            path for path in (book.held_out if split == "held_out" else book.trained) if covers(path, LATIN)
        ]
        files = [path for path in printed if "Italic" in path or "Oblique" in path] or printed
    return tuple(files)


@lru_cache(maxsize=1024)
def open_face(path: str, size: int, shaped: bool = False) -> ImageFont.FreeTypeFont:
    """Open a font at a size in pixels; libraqm only where letters join, because it is slower."""
    engine = ImageFont.Layout.RAQM if shaped else ImageFont.Layout.BASIC
    return ImageFont.truetype(path, size, layout_engine=engine)
