"""What a device can do: its free memory, and the dtypes it multiplies at full speed."""

from __future__ import annotations

import torch

from internvl.config.ram import ram


def free_bytes(device: torch.device) -> int | None:
    """Return the memory that can still be had on this device; None where nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return ram().available if device.type == "cpu" else None


def has_fast_kernels(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether matrix products in this dtype run at full speed on this device."""
    if device.type != "cpu" or dtype == torch.float32:
        return True
    # oneDNN's own answer; torch has no public name for it. Builds without oneDNN lack the question too.
    name = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}.get(
        dtype
    )
    return name is not None and hasattr(torch.ops.mkldnn, name) and bool(getattr(torch.ops.mkldnn, name)())
