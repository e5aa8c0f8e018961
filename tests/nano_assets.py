"""What generated pictures are made of in tests: no shared data; text only where the machine has fonts."""

from __future__ import annotations

import pytest

from internvl.data.fonts import FontBook, find_fonts
from internvl.data.generate import Assets
from internvl.data.words import read_words
from internvl.errors import ConfigError


def has_fonts() -> bool:
    try:
        find_fonts()
    except ConfigError:
        return False
    return True


def plain_assets() -> Assets:
    fonts = find_fonts() if has_fonts() else FontBook(trained=(), held_out=(), plain=())
    return Assets(fonts=fonts, words=read_words(None), art={})


requires_fonts = pytest.mark.skipif(
    not has_fonts(), reason="no fonts on this machine (apt-get install fonts-dejavu)"
)
