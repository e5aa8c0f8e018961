"""Settings for all tests; pytest reads this file before any test imports torch."""

import os

# Tiny tensors gain nothing from threads; threads that wait for each other on a busy machine made the
# parity tests take 5 minutes instead of 20 seconds.
os.environ.setdefault("OMP_NUM_THREADS", "1")
