"""Nothing held out is trained on, and nothing is drawn with a font that lacks its letters."""

from pathlib import Path

import pytest

from internvl.data import fonts
from internvl.data.fonts import HELD_OUT_FAMILIES, find_fonts
from internvl.errors import ConfigError
from nano_assets import requires_fonts


@pytest.fixture
def forget_fonts():
    find_fonts.cache_clear()
    yield
    find_fonts.cache_clear()


@requires_fonts
def test_held_out_fonts_are_not_trained_on():
    names = [Path(path).name for path in find_fonts().trained]
    assert not [name for name in names if name.startswith(HELD_OUT_FAMILIES)]


@requires_fonts
def test_a_font_of_initials_is_left_out(tmp_path, monkeypatch, forget_fonts):
    """Linux Libertine has a file of initials, without small letters: charts drawn with it had empty boxes."""
    from fontTools.ttLib import TTFont  # matplotlib brings it

    face = next(path for path in find_fonts().trained if path.endswith(".ttf"))
    whole = tmp_path / Path(face).name
    initials = tmp_path / f"{whole.stem}_I.ttf"
    whole.write_bytes(Path(face).read_bytes())
    with TTFont(face) as font:
        for table in font["cmap"].tables:
            table.cmap = {code: glyph for code, glyph in table.cmap.items() if not chr(code).islower()}
        font.save(initials)
    monkeypatch.setattr(fonts, "FONT_DIRECTORIES", (tmp_path,))
    find_fonts.cache_clear()
    assert find_fonts().trained == (str(whole),)


@requires_fonts
def test_fonts_trained_on_do_not_stand_in_for_those_held_out(tmp_path, monkeypatch, forget_fonts):
    face = Path(find_fonts().trained[0])
    (tmp_path / face.name).write_bytes(face.read_bytes())
    monkeypatch.setattr(fonts, "FONT_DIRECTORIES", (tmp_path,))
    find_fonts.cache_clear()
    with pytest.raises(ConfigError, match="fonts-cabin"):
        print(find_fonts().held_out)
