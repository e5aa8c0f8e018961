"""Nothing held out is trained on."""

from pathlib import Path

from internvl.data.fonts import HELD_OUT_FAMILIES, find_fonts
from nano_assets import requires_fonts


@requires_fonts
def test_held_out_fonts_are_not_trained_on():
    names = [Path(path).name for path in find_fonts().trained]
    assert not [name for name in names if name.startswith(HELD_OUT_FAMILIES)]
