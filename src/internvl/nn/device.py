"""What a device can do: its free memory, and the dtypes it multiplies at full speed."""

from __future__ import annotations

from pathlib import Path

import torch


def free_bytes(device: torch.device) -> int | None:
    """Return the memory that can still be had on this device; None where nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if device.type != "cpu" or not meminfo.is_file():
        return None
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def has_fast_kernels(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether matrix products in this dtype run at full speed on this device."""
    if device.type != "cpu" or dtype == torch.float32:
        return True
    # oneDNN's own answer; torch has no public name for it. Builds without oneDNN lack the question too.
    name = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}.get(
        dtype
    )
    return name is not None and hasattr(torch.ops.mkldnn, name) and bool(getattr(torch.ops.mkldnn, name)())
