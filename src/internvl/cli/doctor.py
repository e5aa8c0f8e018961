"""`internvl doctor`: is everything here that the package needs, what would make it faster, and what to do."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from internvl.cli import checks
from internvl.cli.checks import Check, Status
from internvl.cli.output import console, plain, print_json, print_table, table

_STYLES: dict[Status, str] = {"ok": "green", "info": "dim", "warning": "yellow", "problem": "bold red"}


def command(
    online: Annotated[
        bool, typer.Option("--online", help="Also ask whether the model hub can be reached.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check machine and installation, and say how to mend each problem.

    Ends with exit code 1 when something that the package needs is missing or broken.
    """
    results = checks.run_all(online=online)
    if as_json:
        print_json([check.as_dict() for check in results])
    else:
        _print(console(), results)
    if any(check.status == "problem" for check in results):
        raise typer.Exit(1)


def _print(out: Console, results: list[Check]) -> None:
    made = table("", "check", "found")
    for check in results:
        style = _STYLES[check.status]
        made.add_row(plain(check.status, style), plain(check.name), plain(check.found))
    print_table(out, made)
    advised = [check for check in results if check.advice]
    if advised:
        out.print()
    for check in advised:
        out.print(plain(f"{check.status}: {check.name}", _STYLES[check.status]), soft_wrap=True)
        out.print(plain(f"  {check.advice}"), soft_wrap=True)
    out.print()
    problems = sum(check.status == "problem" for check in results)
    if problems:
        out.print(plain(f"{problems} problem{'s' if problems > 1 else ''} to solve", "bold red"))
    else:
        out.print(plain("everything that is needed is here", "green"))
