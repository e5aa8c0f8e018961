"""`internvl doctor`: findings, advice, exit code."""

import importlib.util
import json
from importlib import metadata

import pytest

from internvl.checkpoint import hub
from internvl.cli import checks, main
from internvl.cli.checks import Check
from internvl.cli.machine import Gpu, Machine
from internvl.errors import CheckpointError


def a_machine(**traits):
    fields = {
        "cpu": "test CPU",
        "cpu_flags": frozenset({"avx2", "avx512f", "avx512_bf16"}),
        "num_cores": 4,
        "ram_total_bytes": 32 * 10**9,
        "ram_available_bytes": 30 * 10**9,
    }
    return Machine(**(fields | traits))


@pytest.fixture
def findings(monkeypatch):
    """Let the doctor find these."""

    def install(*results):
        monkeypatch.setattr(checks, "run_all", lambda *, online: list(results))

    return install


OK = Check(name="good thing", status="ok", found="1.2.3")
WARNING = Check(name="slow thing", status="warning", found="old", advice="buy a new one")
PROBLEM = Check(name="broken thing", status="problem", found="in pieces", advice="glue it")


def test_all_well_ends_with_0(findings, capsys):
    findings(OK, WARNING)
    assert main.run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "everything that is needed is here" in out
    assert "buy a new one" in out


def test_something_required_that_is_broken_ends_with_1_and_says_what_to_do(findings, capsys):
    findings(OK, PROBLEM)
    assert main.run(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "broken thing" in out
    assert "glue it" in out
    assert "1 problem to solve" in out


def test_json_keeps_the_exit_code(findings, capsys):
    findings(OK, PROBLEM)
    assert main.run(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[1]["advice"] == "glue it"


def test_every_problem_and_warning_on_this_machine_comes_with_advice():
    results = checks.run_all()
    assert {"python", "torch", "cpu", "memory", "nano"} <= {check.name for check in results}
    for check in results:
        assert check.found
        assert check.advice or check.status in ("ok", "info")


def test_installed_packages_are_listed_with_their_versions():
    (check,) = checks.check_packages()
    assert check.status == "ok"
    assert f"torch {metadata.version('torch')}" in check.found


def test_a_missing_package_is_a_problem_with_its_pip_command(monkeypatch):
    real = checks.installed_version
    monkeypatch.setattr(
        checks, "installed_version", lambda name: None if name == "safetensors" else real(name)
    )
    (problem,) = [check for check in checks.check_packages() if check.status == "problem"]
    assert problem.advice.startswith("pip install 'safetensors>=")


def test_a_package_that_is_too_old_is_a_problem(monkeypatch):
    real = checks.installed_version
    monkeypatch.setattr(checks, "installed_version", lambda name: "2.0.1" if name == "torch" else real(name))
    (problem,) = [check for check in checks.check_packages() if check.status == "problem"]
    assert "2.0.1" in problem.found
    assert "--upgrade" in problem.advice


def test_requirements_are_our_own_and_extras_are_told_apart():
    found = list(checks.requirements())
    assert ("typer", "", "") not in found
    assert {"torch", "safetensors"} <= {name for name, _, extra in found if not extra}
    assert "pytest" in {name for name, _, extra in found if extra == "dev"}


def test_torch_that_does_not_load_is_a_problem(monkeypatch):
    monkeypatch.setitem(importlib.import_module("sys").modules, "torch", None)
    check = checks.check_torch()
    assert check.status == "problem"
    assert "pip install" in check.advice


def test_a_missing_nano_is_a_problem(monkeypatch):
    def missing(name):
        raise CheckpointError("the bundled model is missing")

    monkeypatch.setattr(hub, "resolve", missing)
    check = checks.check_nano()
    assert check.status == "problem"
    assert "--model" in check.advice


def test_a_cpu_without_bfloat16_is_told_about_float32():
    assert checks.check_cpu(a_machine()).status == "ok"
    plain = checks.check_cpu(a_machine(cpu_flags=frozenset({"avx2"})))
    assert plain.status == "info"
    assert "float32" in plain.advice


def test_little_free_memory_is_a_warning():
    assert checks.check_ram(a_machine()).status == "ok"
    assert checks.check_ram(a_machine(ram_available_bytes=10**9)).status == "warning"


def test_a_gpu_that_this_torch_cannot_use_is_a_warning(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(checks.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    gpu = Gpu(name="NVIDIA Test", total_bytes=24 << 30, free_bytes=24 << 30)
    (check,) = checks.check_gpu(a_machine(gpus=(gpu,)))
    assert check.status == "warning"
    assert "CPU build" in check.advice


def test_without_a_gpu_nothing_is_asked_of_the_user(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(checks.shutil, "which", lambda name: None)
    (check,) = checks.check_gpu(a_machine())
    assert (check.status, check.advice) == ("info", "")


def test_no_compiler_is_no_problem_but_named(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(checks.shutil, "which", lambda name: None)
    check = checks.check_compiler()
    assert check.status == "info"
    assert "torch.compile" in check.advice


def test_the_hub_is_asked_only_on_demand(monkeypatch):
    monkeypatch.setattr(checks, "check_hub", lambda: Check(name="hub", status="ok", found="asked"))
    assert "hub" not in {check.name for check in checks.run_all()}
    assert "hub" in {check.name for check in checks.run_all(online=True)}


def test_an_unreachable_hub_is_a_warning_with_a_way_out(monkeypatch):
    # Port 9 (discard) on the loopback: refused at once, nothing leaves the machine.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    check = checks.check_hub()
    assert check.status == "warning"
    assert "HF_ENDPOINT" in check.advice
