"""What this machine has: processor, memory, GPUs. Read from the system, without torch.

1 GB = 10^9 bytes. Inside a container the container's limit counts, not the host's memory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from internvl.config.ram import ram, read_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One NVIDIA device, as nvidia-smi reports it."""

    name: str
    total_bytes: int
    free_bytes: int
    driver: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Processor, memory and GPUs."""

    cpu: str
    cpu_flags: frozenset[str]
    """As the kernel names them: avx2, avx512f, amx_tile, ..."""
    num_cores: int
    """Cores that this process may use."""
    ram_total_bytes: int
    ram_available_bytes: int
    gpus: tuple[Gpu, ...] = ()

    def places(self, needed_bytes: int, *, now: bool = True) -> list[str]:
        """Return where this much fits, best first: "GPU" (one of them), "RAM".

        `now` counts only what is free at the moment; otherwise what is installed.
        """
        fits = []
        if any((gpu.free_bytes if now else gpu.total_bytes) >= needed_bytes for gpu in self.gpus):
            fits.append("GPU")
        if (self.ram_available_bytes if now else self.ram_total_bytes) >= needed_bytes:
            fits.append("RAM")
        return fits

    def describe(self) -> str:
        """Return one line for people."""
        ram = f"{self.ram_total_bytes / 1e9:.1f} GB RAM ({self.ram_available_bytes / 1e9:.1f} GB free)"
        if not self.gpus:
            return f"{ram}, {self.num_cores} cores, no GPU"
        gpus = ", ".join(
            f"{g.name} {g.total_bytes / 1e9:.0f} GB ({g.free_bytes / 1e9:.1f} free)" for g in self.gpus
        )
        return f"{gpus}; {ram}, {self.num_cores} cores"


def inspect_machine() -> Machine:
    """Look at this machine."""
    name, flags = _cpu()
    total, available = ram()
    return Machine(
        cpu=name,
        cpu_flags=flags,
        num_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        ram_total_bytes=total,
        ram_available_bytes=available,
        gpus=_gpus(),
    )


def _cpu() -> tuple[str, frozenset[str]]:
    fields: dict[str, str] = {}
    for line in read_text(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    # Arm names its flags "Features" and no model.
    flags = fields.get("flags") or fields.get("Features", "")
    return fields.get("model name", os.uname().machine), frozenset(flags.split())


def _gpus() -> tuple[Gpu, ...]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    query = "--query-gpu=name,memory.total,memory.free,driver_version"
    try:
        answer = subprocess.run(
            [tool, query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()  # no driver behind the tool: `internvl doctor` says so
    return parse_gpus(answer.stdout)


def parse_gpus(table: str) -> tuple[Gpu, ...]:
    """Read nvidia-smi's table: name, total and free MiB, driver. Devices without memory are left out."""
    gpus = []
    for line in table.strip().splitlines():
        name, total, free, driver = (field.strip() for field in line.rsplit(",", 3))
        if total.isdigit() and free.isdigit():
            gpus.append(
                Gpu(name=name, total_bytes=int(total) << 20, free_bytes=int(free) << 20, driver=driver)
            )
    return tuple(gpus)
