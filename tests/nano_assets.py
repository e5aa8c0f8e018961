"""Whether this machine can draw the pictures of tests that show text."""

from __future__ import annotations

import pytest

from internvl.data.fonts import find_fonts
from internvl.errors import ConfigError


def has_fonts() -> bool:
    try:
        assert find_fonts().held_out
    except ConfigError:
        return False
    return True


requires_fonts = pytest.mark.skipif(
    not has_fonts(), reason="no fonts on this machine (apt-get install fonts-dejavu fonts-cabin)"
)
