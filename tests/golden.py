"""Where the recorded reference behaviour lies, and how tests skip when it is absent."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("INTERNVL_SHARED", Path(__file__).resolve().parents[2] / "shared"))
GOLDEN = SHARED / "golden"

requires_golden = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"no recorded reference at {GOLDEN} (set INTERNVL_SHARED)"
)
requires_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"no shared data at {SHARED} (set INTERNVL_SHARED)"
)
