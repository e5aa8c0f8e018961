"""Fonts of this machine, some families held out for measuring.

Debian: apt-get install fonts-noto-core fonts-liberation fonts-dejavu fonts-lato fonts-open-sans ... (docs/nano.md
lists the packages). Families are recognised by the beginning of the file name.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

from internvl.data.coverage import covers
from internvl.errors import ConfigError

FONT_DIRECTORIES = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))
TRAINED_FAMILIES = tuple(
    [
        "DejaVuSans",
        "DejaVuSerif",
        "DejaVuSansMono",
        "LiberationSans",
        "LiberationSerif",
        "LiberationMono",
        "NotoSans-",
        "NotoSerif-",
        "NotoSansMono",
        "NotoSansDisplay-",
        "NotoSerifDisplay-",
        "Lato",
        "OpenSans",
        "Roboto",
        "Inter-",
        "Cantarell",
        "Comfortaa",
        "Quicksand",
        "EBGaramond",
        "LinLibertine",
        "Carlito",
        "Caladea",
        "FreeSans",
        "FreeSerif",
        "FreeMono",
        "FiraCode",
        "JetBrainsMono",
        "Inconsolata",
        "Karla",
        "Dosis",
        "OldStandard",
        "Courier",
        "B612",
        "Andika",
        "CharisSIL",
        "ComicNeue",
        "PTC",
        "PTF",
        "PTM",
        "PTN",
        "PTS",
        "PTZ",
        "LeagueSpartan",
        "Manrope",
        "Vollkorn",
        "Junction",
        "NimbusSans",
        "NimbusRoman",
        "C059",
        "P052",
        "URWGothic",
        "URWBookman",
    ]
)
HELD_OUT_FAMILIES = ("Cabin", "Sora", "Gentium", "Hack", "Play", "Go-", "Go-Bold", "Go-Medium")
"""Never trained on: reading is measured with these."""
SKIPPED_STYLES = (
    "thin",
    "hairline",
    "extralight",
    "ultralight",
    "smallcaps",
    "variable",
    "symbol",
    "math",
    "tamil",
)


PLAIN_FAMILIES = (
    "DejaVuSans",
    "LiberationSans",
    "NotoSans",
    "Roboto",
    "OpenSans",
    "Lato",
    "Carlito",
    "FreeSans",
)
PLAIN_STYLES = ("", "Regular", "Bold", "Medium", "Semibold", "SemiBold")


@dataclass(frozen=True, slots=True)
class FontBook:
    """Paths of the usable font files, sorted."""

    trained: tuple[str, ...]
    unseen: tuple[str, ...]
    """Of the families held out; may be none."""
    plain: tuple[str, ...]
    """Upright sans-serif fonts of those trained on, the commonest shapes of letters."""

    @property
    def held_out(self) -> tuple[str, ...]:
        """Fonts that nothing was trained on.

        Raises:
            ConfigError: There are none; training fonts in their place would measure something else.
        """
        if not self.unseen:
            raise ConfigError(
                "none of the fonts that are held out for measuring is here: apt-get install fonts-cabin fonts-go "
                "fonts-hack fonts-play fonts-sora fonts-sil-gentiumplus, or draw with --split train"
            )
        return self.unseen


@lru_cache(maxsize=1)
def find_fonts() -> FontBook:
    """Look through the system's font directories; fonts without all Latin letters and digits are left out.

    Raises:
        ConfigError: There are not enough fonts to draw with.
    """
    files = sorted(
        path
        for directory in FONT_DIRECTORIES
        for path in directory.rglob("*")
        if path.suffix.lower() in (".ttf", ".otf")
        and path.stem.startswith((*TRAINED_FAMILIES, *HELD_OUT_FAMILIES))
        and not any(style in path.stem.lower() for style in SKIPPED_STYLES)
        and covers(str(path), string.ascii_letters + string.digits)
    )
    unseen = tuple(str(path) for path in files if path.stem.startswith(HELD_OUT_FAMILIES))
    trained = tuple(str(path) for path in files if not path.stem.startswith(HELD_OUT_FAMILIES))
    if not trained:
        places = ", ".join(str(directory) for directory in FONT_DIRECTORIES)
        raise ConfigError(
            f"no fonts found under {places}. Install some: apt-get install fonts-dejavu fonts-liberation "
            "fonts-noto-core (docs/nano.md has the full list)"
        )
    plain = tuple(path for path in trained if _is_plain(Path(path).stem))
    return FontBook(trained=trained, unseen=unseen, plain=plain or trained)


@lru_cache(maxsize=1)
def font_files() -> tuple[Path, ...]:
    """Return all font files of this machine, sorted: what drawings depend on."""
    return tuple(
        sorted(
            path
            for directory in FONT_DIRECTORIES
            for path in directory.rglob("*")
            if path.suffix.lower() in (".ttf", ".otf", ".ttc")
        )
    )


def _is_plain(stem: str) -> bool:
    family, _, style = stem.partition("-")
    return family in PLAIN_FAMILIES and style in PLAIN_STYLES


@lru_cache(maxsize=512)
def load_font(path: str, size: int) -> ImageFont.FreeTypeFont:
    """Open a font at a size in pixels; basic layout, so that every machine places glyphs alike."""
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
