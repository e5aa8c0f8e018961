"""Main memory of machines and containers, from the files that their kernels show."""

import pytest

from internvl.config.ram import private_bytes, ram

MB = 2**20
MEMINFO = (
    "MemTotal:       16384 kB\nMemFree:         1024 kB\nMemAvailable:    8192 kB\nHugePages_Total:       0\n"
)


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    write("proc/meminfo", MEMINFO)
    return write


def test_a_machine_without_limits(write, tmp_path):
    write("proc/self/cgroup", "0::/\n")
    write("sys/fs/cgroup/memory.max", "max\n")
    write("sys/fs/cgroup/memory.current", f"{5 * MB}\n")
    assert ram(tmp_path) == (16 * MB, 8 * MB)


def test_a_containers_limit_counts_and_page_cache_gives_way(write, tmp_path):
    write("proc/self/cgroup", "0::/\n")
    write("sys/fs/cgroup/memory.max", f"{4 * MB}\n")
    write("sys/fs/cgroup/memory.current", f"{3 * MB}\n")
    write("sys/fs/cgroup/memory.stat", f"anon {MB}\ninactive_file {2 * MB}\n")
    assert ram(tmp_path) == (4 * MB, 3 * MB)


def test_the_tightest_of_nested_groups_counts(write, tmp_path):
    write("proc/self/cgroup", "0::/user/app\n")
    for group, limit, used in (("user", 6, 5), ("user/app", 7, 1)):
        write(f"sys/fs/cgroup/{group}/memory.max", f"{limit * MB}")
        write(f"sys/fs/cgroup/{group}/memory.current", f"{used * MB}")
    assert ram(tmp_path) == (6 * MB, 1 * MB)


def test_the_older_groups_are_read_too(write, tmp_path):
    write("proc/self/cgroup", "4:memory:/docker/abc\n1:cpu:/\n0::/\n")
    write("sys/fs/cgroup/memory/memory.limit_in_bytes", f"{2 * MB}\n")
    write("sys/fs/cgroup/memory/memory.usage_in_bytes", f"{3 * MB}\n")
    write("sys/fs/cgroup/memory/memory.stat", f"total_inactive_file {MB // 2}\n")
    assert ram(tmp_path) == (2 * MB, 0)


def test_private_memory_is_what_no_file_holds(write, tmp_path):
    assert private_bytes(tmp_path) == 0
    write("proc/self/status", "Name:\tpython\nVmRSS:\t 100 kB\nRssAnon:\t 64 kB\nRssFile:\t 36 kB\n")
    assert private_bytes(tmp_path) == 64 * 1024


def test_this_machine_has_memory():
    total, available = ram()
    assert 10**7 < available <= total
