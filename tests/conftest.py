"""Settings for all tests; pytest reads this file before any test imports torch."""

import logging
import os
from collections.abc import Iterator

import pytest

# Tiny tensors gain nothing from threads; threads that wait for each other on a busy machine made the
# parity tests take 5 minutes instead of 20 seconds.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def same_log_level() -> Iterator[None]:
    """Commands and `pipeline(log_level=...)` set the package's level; the next test finds it as it was."""
    logger = logging.getLogger("internvl")
    before = logger.level, logger.propagate, list(logger.handlers)
    yield
    logger.setLevel(before[0])
    logger.propagate, logger.handlers = before[1], before[2]
