"""Freed buffers are reused without page faults."""

import subprocess
import sys

import pytest

PROBE = """
import resource, threading, torch
from internvl.nn.allocator import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
def work():
    for _ in range(20):
        torch.ones(8 * 2**20)  # 32 MB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(8 * 2**20)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_a_buffer_that_comes_again_costs_no_page_faults():
    def faults(keep):
        code = PROBE.format(keep=keep)
        return int(
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        )

    assert faults(keep=True) < 1000 < faults(keep=False)
