"""The table of skills, and `make_sample`: `(skill, seed, index, split) -> DataSample`, a pure function.

A skill's module is imported when the skill is first asked for. To add one: a line here, and a function of the form
`sample.Skill` in the module named.
"""

from __future__ import annotations

import importlib
import random
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from internvl.data.sample import Assets, DataSample, Skill, Split
from internvl.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SkillEntry:
    """Where a skill is made, and what it teaches."""

    module: str
    """Module below `internvl.data`."""
    function: str
    description: str


SKILLS: dict[str, SkillEntry] = {
    "lines": SkillEntry("documents.lines", "make_lines", "one to three printed or written lines, to be read"),
    "letters": SkillEntry("documents.print", "make_letters", "the same large and plain: where a model begins"),
    "print": SkillEntry("documents.print", "make_print", "a square full of print: every glyph with its place"),
    "words": SkillEntry("documents.print", "make_words", "a few large words, to be read: where a decoder begins"),
    "note": SkillEntry("documents.print", "make_note", "a small block of print, to be read whole"),
    "block": SkillEntry("documents.print", "make_block", "one block of lines or one paragraph, to be read whole"),
    "page": SkillEntry("documents.page", "make_page", "pages: headings, paragraphs, columns, to be read in order"),
    "receipt": SkillEntry("documents.receipt", "make_receipt", "till receipts: fields, items, totals, JSON"),
    "invoice": SkillEntry("documents.invoice", "make_invoice", "invoices: parties, dates, items, totals, JSON"),
    "form": SkillEntry("documents.form", "make_form", "filled forms: fields, ticked boxes, JSON"),
    "id_card": SkillEntry("documents.id_card", "make_id_card", "cards and badges of persons: fields, JSON"),
    "table": SkillEntry("documents.table", "make_table", "tables, plain to merged: Markdown, HTML, CSV, cells"),
    "scene": SkillEntry("pictures.scene", "make_scene", "clip art: count, name, colour, place, relation, box, absent"),
    "shape": SkillEntry("pictures.shapes", "make_shape", "coloured shapes: count, colour, place, relation, box"),
    "board": SkillEntry("pictures.board", "make_board", "things in rows and columns, to be named in order"),
    "chart": SkillEntry("pictures.charts", "make_chart", "bar, line, pie, scatter: values, extremes, trends, tables"),
    "languages": SkillEntry("pictures.languages", "make_languages", "one thing named in the languages asked for"),
    "pair": SkillEntry("pictures.pairs", "make_pair", "two pictures: what differs, which one, same or different"),
    "clip": SkillEntry("pictures.clips", "make_clip", "eight frames: what moves, appears, changes; text in frames"),
    "screen": SkillEntry("pictures.screens", "make_screen", "windows and dialogs: read, locate, tell states"),
    "talk": SkillEntry("talk", "make_talk", "no picture: what nano is, can do and cannot do"),
}  # fmt: skip


def make_sample(skill: str, seed: int, index: int, *, split: Split = "train", assets: Assets) -> DataSample:
    """Make sample number `index` of a skill.

    Raises:
        ConfigError: There is no such skill, or this machine lacks what it draws with (fonts).
    """
    rng = random.Random(f"{skill}/{split}/{seed}/{index}")
    return load_skill(skill)(rng, split=split, assets=assets)


@cache
def load_skill(name: str) -> Skill:
    """Import a skill's function.

    Raises:
        ConfigError: There is no such skill.
    """
    entry = SKILLS.get(name)
    if entry is None:
        near = get_close_matches(name, SKILLS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"there is no skill {name!r}; {hint}Known: {', '.join(SKILLS)}")
    skill: Skill = getattr(importlib.import_module(f"internvl.data.{entry.module}"), entry.function)
    return skill
