"""How the C library gives out memory on a CPU: large buffers are kept for the next step instead of being returned.

A step frees tens of megabytes and asks for them again a moment later. By default glibc hands each such block back
to the system, which must zero every page when it comes again: 105,000 page faults in a prompt of 1024 tokens of the 1B
shape, none with these settings (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import sys

KEPT_BYTES = 256 * 2**20
"""Free memory above which the rest goes back to the system, and size from which a block is mapped by itself."""
# names and numbers of malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def keep_freed_memory() -> bool:
    """Let the whole process reuse up to `KEPT_BYTES` of what it freed; say whether the C library knows how.

    Call it before the threads that compute are started. Settings in the environment (`MALLOC_*_`) are overruled.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return False
    # one arena: the others are 64 MB at most and go back to the system each time they are empty
    settings = ((_MMAP_THRESHOLD, KEPT_BYTES), (_TRIM_THRESHOLD, KEPT_BYTES), (_ARENA_MAX, 1))
    return all([mallopt(name, value) == 1 for name, value in settings])
