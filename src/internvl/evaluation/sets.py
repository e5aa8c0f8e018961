"""Names of sets -> the sets."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from internvl.data.sample import Split
from internvl.data.skills import SKILLS
from internvl.errors import ConfigError
from internvl.evaluation import generated, shared_sets
from internvl.evaluation.generated import GeneratedSet
from internvl.evaluation.item import EvalSet
from internvl.evaluation.shared_sets import find_folders, load_shared_set

GROUPS = ("generated", "shared", "all")


def list_sets(shared: Path | None) -> list[str]:
    """Return the names of all sets there are; the real ones need `shared`, the folder that holds `data/`."""
    real = find_folders(shared / "data") if shared is not None else {}
    return [*(generated.PREFIX + skill for skill in SKILLS), *real]


def open_sets(
    names: Sequence[str], *, count: int, seed: int, split: Split = "held_out", shared: Path | None = None
) -> list[EvalSet]:
    """Return sets by name, each once, in the order asked for.

    Of a group, skills that cannot be drawn on this machine have no samples and say why (`skipped`).

    Args:
        names: "generated:lines", "shared:sroie_receipts", a name without the part before the colon, or one of `GROUPS`.
        count: Samples of a generated set, and the most of a real one.
        seed: Of the generated ones.
        split: Of the generated ones.
        shared: The folder that holds `data/`; the real sets need it, generated ones show more with it.

    Raises:
        ConfigError: There is no such set; the message has the nearest one. Or one that was asked for by name cannot be
            drawn on this machine.
    """
    known = list_sets(shared)
    chosen: dict[str, bool] = {}  # name -> whether it was asked for by name, not as one of a group
    for name in names:
        for found in _resolve(name, known, shared):
            chosen[found] = chosen.get(found, False) or name not in GROUPS
    folders = find_folders(shared / "data") if shared is not None else {}
    sets: list[EvalSet] = []
    for name, by_name in chosen.items():
        if name in folders:
            assert shared is not None
            sets.append(load_shared_set(shared / "data", folders[name], count))
        else:
            skill = name.removeprefix(generated.PREFIX)
            drawn = GeneratedSet(skill=skill, count=count, seed=seed, split=split, shared=shared)
            tried = drawn.or_skipped()
            if by_name and tried.missing:
                raise ConfigError(f"{drawn.name}: {tried.missing}")
            sets.append(tried)
    return sets


def _resolve(name: str, known: Sequence[str], shared: Path | None) -> list[str]:
    if name in ("shared", "all") and shared is None:
        raise ConfigError(f"sets {name!r} need the data pack: --shared DIR, the folder that holds data/")
    if name in GROUPS:
        return [each for each in known if name == "all" or each.startswith(name + ":")]
    found = [each for each in known if name in (each, each.partition(":")[2])]
    if len(found) == 1:
        return found
    if found:
        raise ConfigError(f"{name!r} may be {' or '.join(found)}; say which")
    if name.startswith(shared_sets.PREFIX) and shared is None:
        raise ConfigError(f"set {name!r} needs the data pack: --shared DIR, the folder that holds data/")
    bare = [each.partition(":")[2] for each in known]
    near = get_close_matches(name, [*known, *bare, *GROUPS], n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"there is no set {name!r}; {hint}Known: {', '.join((*GROUPS, *known))}")
