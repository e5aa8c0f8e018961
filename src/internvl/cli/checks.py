"""The checks behind `internvl doctor`: each looks at one thing and says what to do when it is not right.

torch is imported here, and only inside the check that needs it: a broken torch is a finding, not a crash.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from internvl.cli.machine import Machine, inspect_machine
from internvl.cli.output import amount
from internvl.errors import CheckpointError
from internvl.version import __version__

Status = Literal["ok", "info", "warning", "problem"]

#: x86 instructions that matter here, slowest first; the kernel's names.
_X86_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}

#: Below this, even the smallest released models do not run beside a desktop.
_MIN_FREE_RAM = 3e9
_MIN_FREE_DISK = 5e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was found about one thing."""

    name: str
    status: Status
    """"problem": the package does not work; "warning": something is slow or missing that you may want."""
    found: str
    advice: str = ""
    """What to do; empty when there is nothing to do."""

    def as_dict(self) -> dict[str, str]:
        """Return the fields for JSON."""
        return asdict(self)


def run_all(*, online: bool = False) -> list[Check]:
    """Run every check; `online` adds the one that needs the network."""
    machine = inspect_machine()
    results = [check_python(), *check_packages(), check_torch(), check_nano()]
    results += [check_cpu(machine), check_ram(machine), *check_gpu(machine), check_disk()]
    results += [check_flash_attention(machine), check_compiler(), *check_extras(), check_encoding()]
    if online:
        results.append(check_hub())
    return results


def check_python() -> Check:
    """The interpreter (an older one than pyproject.toml asks for does not come this far)."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, internvl {__version__}"
    return Check(name="python", status="ok", found=found)


def check_packages() -> list[Check]:
    """Every package that pyproject.toml names as needed, with its version."""
    results, fine = [], []
    for name, specifier, extra in requirements():
        if extra:
            continue
        version = installed_version(name)
        if version is None:
            advice = f"pip install '{name}{specifier}'"
            results.append(Check(name=name, status="problem", found="not installed", advice=advice))
        elif not specifier_allows(specifier, version):
            advice = f"pip install --upgrade '{name}{specifier}'"
            found = f"{version}, needed is {specifier}"
            results.append(Check(name=name, status="problem", found=found, advice=advice))
        else:
            fine.append(f"{name} {version}")
    if fine:
        results.insert(0, Check(name="packages", status="ok", found=", ".join(fine)))
    return results


def check_torch() -> Check:
    """Whether torch loads at all and computes."""
    try:
        import torch

        result = (torch.ones(2, 2) @ torch.ones(2, 2)).sum().item()
    except (ImportError, OSError, RuntimeError) as error:  # a missing or unfit library shows as OSError
        return Check(
            name="torch",
            status="problem",
            found=f"does not load: {error}",
            advice="reinstall it: pip install --force-reinstall torch (see pytorch.org for GPU builds)",
        )
    assert result == 8.0
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    return Check(
        name="torch", status="ok", found=f"{torch.__version__}, {build}, {torch.get_num_threads()} threads"
    )


def check_nano() -> Check:
    """The bundled model, default of every command."""
    from internvl.checkpoint.hub import resolve

    try:
        directory = resolve("nano")
    except CheckpointError as error:
        return Check(
            name="nano",
            status="problem",
            found="not in this installation",
            advice=f"{error}. Commands need --model until then",
        )
    size = sum(file.stat().st_size for file in directory.glob("*.safetensors"))
    if not size:
        return Check(
            name="nano", status="problem", found=f"no weights in {directory}", advice="reinstall the package"
        )
    return Check(name="nano", status="ok", found=f"{amount(size)} of weights")


def check_cpu(machine: Machine) -> Check:
    """Vector instructions."""
    present = [flag for flag in _X86_FLAGS if flag in machine.cpu_flags]
    found = f"{machine.cpu}, {machine.num_cores} cores, {', '.join(present) or 'no x86 vector extensions'}"
    if platform.machine() in ("x86_64", "AMD64") and "avx2" not in machine.cpu_flags:
        advice = "this CPU has no AVX2: expect answers several times slower; use a newer machine or a GPU"
        return Check(name="cpu", status="warning", found=found, advice=advice)
    if not machine.gpus and not _BF16_FLAGS & machine.cpu_flags:
        advice = (
            "this CPU has no bfloat16 instructions: it reads pictures and prompts several times faster in "
            "float32 than in the bfloat16 of the released checkpoints; use float32 where memory allows"
        )
        return Check(name="cpu", status="info", found=found, advice=advice)
    return Check(name="cpu", status="ok", found=found)


def check_ram(machine: Machine) -> Check:
    """Memory, the container's limit considered."""
    found = f"{amount(machine.ram_total_bytes)}, {amount(machine.ram_available_bytes)} free"
    if machine.ram_available_bytes < _MIN_FREE_RAM:
        advice = "little is free: close other programs; `internvl plan MODEL` shows what a model needs"
        return Check(name="memory", status="warning", found=found, advice=advice)
    return Check(name="memory", status="ok", found=found)


def check_gpu(machine: Machine) -> list[Check]:
    """NVIDIA devices, and whether this torch can use them."""
    has_tool = shutil.which("nvidia-smi") is not None
    if importlib.util.find_spec("torch") is None:
        return []
    try:
        import torch
    except (ImportError, OSError):
        return []  # check_torch has said it
    if not torch.cuda.is_available():
        if not has_tool:
            return [Check(name="gpu", status="info", found="none; models run on the CPU")]
        names = ", ".join(gpu.name for gpu in machine.gpus)
        if not names:
            advice = "nvidia-smi is installed but reports no device: check the driver (run nvidia-smi)"
        elif torch.version.cuda is None:
            advice = "this torch is the CPU build: install a CUDA build as pytorch.org says for your driver"
        else:
            advice = (
                f"torch was built for CUDA {torch.version.cuda}, which this driver does not serve: update "
                "the driver, or install a torch built for an older CUDA; check CUDA_VISIBLE_DEVICES too"
            )
        return [Check(name="gpu", status="warning", found=names or "not usable", advice=advice)]
    results = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        capability = f"capability {properties.major}.{properties.minor}"
        found = f"{properties.name}, {amount(total)}, {amount(free)} free, {capability}"
        if properties.major < 8:
            advice = "this GPU has no bfloat16: use --dtype float16"
            results.append(Check(name=f"gpu {index}", status="warning", found=found, advice=advice))
        else:
            results.append(Check(name=f"gpu {index}", status="ok", found=found))
    return results


def check_disk() -> Check:
    """Room for downloaded checkpoints."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    found = f"{amount(free)} free in {cache}"
    if free < _MIN_FREE_DISK:
        advice = "too little for most checkpoints: free some, or set HF_HOME to a larger disk"
        return Check(name="model cache", status="warning", found=found, advice=advice)
    return Check(name="model cache", status="ok", found=found)


def check_flash_attention(machine: Machine) -> Check:
    """The optional attention kernels; only GPUs have them."""
    version = installed_version("flash-attn")
    if version is not None:
        return Check(name="flash-attn", status="ok", found=f"{version}; used with attention='flash'")
    if not machine.gpus:
        return Check(name="flash-attn", status="info", found="not installed; it needs a GPU")
    advice = "faster with long prompts: pip install flash-attn --no-build-isolation, then attention='flash'"
    return Check(
        name="flash-attn", status="info", found="not installed; torch's own kernels are used", advice=advice
    )


def check_compiler() -> Check:
    """What torch.compile needs: a C++ compiler and Python's headers, and triton for GPUs."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    headers = Path(sysconfig.get_path("include"), "Python.h").is_file()
    triton = installed_version("triton")
    found = [f"compiler {compiler}" if compiler else "no C++ compiler"]
    found.append("Python headers" if headers else "no Python headers")
    found.append(f"triton {triton}" if triton else "no triton")
    if compiler and headers:
        return Check(name="torch.compile", status="ok", found=", ".join(found))
    advice = "only for torch.compile: install a C++ compiler and Python's headers (Debian: g++ python3-dev)"
    return Check(name="torch.compile", status="info", found=", ".join(found), advice=advice)


def check_extras() -> list[Check]:
    """Optional parts of the package, by their pip names."""
    missing: dict[str, list[str]] = {}
    for name, _, extra in requirements():
        if extra and extra != "dev":
            missing.setdefault(extra, [])
            if installed_version(name) is None:
                missing[extra].append(name)
    results = []
    for extra, names in missing.items():
        if names:
            found = f"not installed ({', '.join(names)})"
            advice = f"if you need it: pip install 'internvl[{extra}]'"
            results.append(Check(name=f"extra {extra}", status="info", found=found, advice=advice))
        else:
            results.append(Check(name=f"extra {extra}", status="ok", found="installed"))
    return results


def check_encoding() -> Check:
    """Whether answers in any language can be printed."""
    encoding = sys.stdout.encoding or "unknown"
    if encoding.lower().replace("-", "") == "utf8":
        return Check(name="output encoding", status="ok", found=encoding)
    advice = "answers outside ASCII cannot be printed: set LANG=C.UTF-8 or PYTHONIOENCODING=utf-8"
    return Check(name="output encoding", status="warning", found=encoding, advice=advice)


def check_hub() -> Check:
    """Whether the model hub answers within a few seconds."""
    import httpx

    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return Check(
            name="hub", status="info", found="HF_HUB_OFFLINE is set", advice="unset it to download models"
        )
    try:
        status = httpx.head(endpoint, timeout=5.0, follow_redirects=True).status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        advice = (
            "without it only nano and local directories can be used: check the connection and HTTPS_PROXY, "
            "or set HF_ENDPOINT to a mirror"
        )
        return Check(name="hub", status="warning", found=f"{endpoint}: {error}", advice=advice)
    if status < 500:
        return Check(name="hub", status="ok", found=f"{endpoint} answers")
    return Check(name="hub", status="warning", found=f"{endpoint}: HTTP {status}", advice="try again later")


# -- what is installed


def requirements() -> Iterator[tuple[str, str, str]]:
    """Yield (package, version specifier, extra or "") of everything that our own metadata asks for."""
    from packaging.requirements import Requirement

    distribution = metadata.distribution("internvl")
    extras = distribution.metadata.get_all("Provides-Extra") or []
    for line in distribution.requires or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}):
            yield requirement.name, str(requirement.specifier), ""
            continue
        for extra in extras:
            if marker.evaluate({"extra": extra}):
                yield requirement.name, str(requirement.specifier), extra


def installed_version(name: str) -> str | None:
    """Return the version of an installed package; None when it is absent."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def specifier_allows(specifier: str, version: str) -> bool:
    """Whether a version meets a specifier such as ">=2.6"; pre-releases count too."""
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(specifier).contains(version, prereleases=True)
