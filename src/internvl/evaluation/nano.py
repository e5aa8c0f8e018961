"""How often nano is right: generated pictures that it was not trained on, answered.

`python -m internvl.evaluation.nano --shared DIR --recipe FILE` prints a table of its card.
Held out: seeds, whole font families, grounds (stripes), tilts. The metric is the whole answer, letter for letter;
for reading also the share of right letters.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from internvl.chat.pipeline import Pipeline, pipeline
from internvl.data.generate import SKILLS, Difficulty, Skill, load_assets, make_scene
from internvl.data.questions import COUNT_ALL, primary_turn
from internvl.engine.config import EngineConfig
from internvl.train.nano.config import read_stage
from internvl.types import GenerationConfig

SEED = 20_000
"""Of the pictures measured; training uses small seeds, and another split."""
READING = ("word", "line")
MEASURED = Difficulty()
"""How hard pictures are unless a recipe says otherwise."""
GROUP = 50
"""Questions given to the pipeline at once."""

Ask = Callable[[Sequence[tuple[str, Image.Image]]], Sequence[str]]
"""(question, picture) pairs -> answers."""


@dataclass(slots=True)
class Score:
    """What came out for one skill."""

    asked: int = 0
    right: int = 0
    letter_accuracy: float = 0.0
    """Sum over the questions of 1 - edit distance / longer length."""
    by_kind: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    """Right and asked, by the expected answer's kind (number, colour, length)."""
    mistakes: list[tuple[str, str, str]] = field(default_factory=list)
    """Question, expected and given answers of the first few."""

    def add(self, question: str, expected: str, given: str, kind: str) -> None:
        """Count one answer."""
        right = given.strip() == expected
        self.asked += 1
        self.right += right
        self.letter_accuracy += similarity(expected, given.strip())
        self.by_kind[kind][0] += right
        self.by_kind[kind][1] += 1
        if not right and len(self.mistakes) < 5:
            self.mistakes.append((question, expected, given))


def similarity(a: str, b: str) -> float:
    """1 - Levenshtein distance / length of the longer; 1 for two empty texts.

    >>> similarity("STOP", "SHOP")
    0.75
    """
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return 1 - row[-1] / max(len(a), len(b), 1)


def kind_of(skill: Skill, question: str, expected: str) -> str:
    """What an answer is grouped by in the report."""
    if skill in READING:
        length = len(expected)
        return "1-4 letters" if length <= 4 else "5-8 letters" if length <= 8 else "9 or more"
    if skill == "count":
        asked = "none" if expected == "0" else "in all" if question.startswith(COUNT_ALL) else "of a kind"
        return f"{asked}: {expected}" if asked == "in all" else asked
    return expected if skill == "shape" else "all"


def measure(
    ask: Ask,
    shared: Path | None,
    *,
    skills: Iterable[Skill] = SKILLS,
    count: int = 500,
    difficulty: Difficulty = MEASURED,
    seed: int = SEED,
) -> dict[Skill, Score]:
    """Ask the main question of each skill about `count` held-out pictures.

    Args:
        ask: Answers a group of questions, e.g. through a pipeline.
        shared: Folder that holds `data/` (words, object art).
        skills: What to measure.
        count: Pictures per skill.
        difficulty: Of the pictures; the card says which.
        seed: Of the pictures.
    """
    assets = load_assets(shared)
    scores: dict[Skill, Score] = {}
    for skill in skills:
        score = scores[skill] = Score()
        for first in range(0, count, GROUP):
            turns, questions = [], []
            for index in range(first, min(count, first + GROUP)):
                scene = make_scene(skill, seed, index, assets, difficulty=difficulty, split="held_out")
                turns.append(primary_turn(random.Random(index), skill, scene))
                questions.append((turns[-1][0], scene.image))
            for (question, expected), given in zip(turns, ask(questions), strict=True):
                score.add(question, expected, given, kind_of(skill, question, expected))
    return scores


def answer_with(pipe: Pipeline) -> Ask:
    """Ask a pipeline, greedily."""
    config = GenerationConfig(max_new_tokens=96)

    def ask(questions: Sequence[tuple[str, Image.Image]]) -> list[str]:
        answers = pipe(list(questions), gen_config=config)
        return [answer.text for answer in answers]

    return ask


def as_table(scores: dict[Skill, Score]) -> str:
    """A Markdown table, and below it the accuracy by kind."""
    lines = ["| skill | pictures | whole answer right | letters right |", "|---|---|---|---|"]
    for skill, score in scores.items():
        letters = f"{score.letter_accuracy / score.asked:.1%}" if skill in READING else ""
        lines.append(f"| {skill} | {score.asked} | {score.right / score.asked:.1%} | {letters} |")
    for skill, score in scores.items():
        if len(score.by_kind) > 1:
            kinds = ", ".join(f"{k} {r / n:.0%} of {n}" for k, (r, n) in sorted(score.by_kind.items()))
            lines.append(f"\n{skill}: {kinds}.")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--quantize", choices=("int8", "int4"))
    parser.add_argument("--shared", type=Path, help="folder that holds data/")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--skills", nargs="+", default=SKILLS, choices=SKILLS)
    parser.add_argument(
        "--recipe", type=Path, help="measure pictures as hard as this stage trains (default: harder)"
    )
    parser.add_argument("--mistakes", action="store_true", help="show a few wrong answers")
    args = parser.parse_args()
    difficulty = MEASURED if args.recipe is None else read_stage(args.recipe).difficulty
    with pipeline(args.model, backend_config=EngineConfig(quantize=args.quantize)) as pipe:
        scores = measure(
            answer_with(pipe), args.shared, skills=args.skills, count=args.count, difficulty=difficulty
        )
    sys.stdout.write(as_table(scores) + "\n")
    if args.mistakes:
        for skill, score in scores.items():
            for question, expected, given in score.mistakes:
                sys.stdout.write(f"{skill}: {question!r} expected {expected!r} got {given!r}\n")


if __name__ == "__main__":
    main()
