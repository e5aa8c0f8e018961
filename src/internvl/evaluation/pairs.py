"""Pairs of answers for preference learning, by rejection sampling: ask often, judge, set right against wrong.

Each question is answered `samples` times by the model through the one engine, every answer is judged by a verifier,
and right answers are paired with wrong ones: rows {image, question, chosen, rejected} as `internvl train` with
objective mpo, dpo or bco reads them (`train.pairs`). This is the correctness pipeline of MPO (arXiv:2411.10442).

    OUT.jsonl            the pairs; a pure function of the file below, written when all is answered
    OUT.answers.jsonl    what was asked for, then each question's answers and scores; a killed run goes on from it

Called by `internvl data pairs`.
"""

from __future__ import annotations

import json
import queue
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from internvl.data.shards import replace, write_lines
from internvl.errors import CapacityError, ConfigError, DataError, InternVLError
from internvl.evaluation.journal import Journal, Row
from internvl.evaluation.pair_questions import PairQuestion
from internvl.evaluation.verifiers import Verifier, metric_of
from internvl.types import GenerationConfig, Response

if TYPE_CHECKING:
    from internvl.engine.engine import Engine

Outcome = Literal["mixed", "all_right", "all_wrong", "tie"]
"""Of a question: right and wrong answers; only right or only wrong ones; neither a right nor a wrong one to set
against the other (all alike, or between the two)."""
_RETRY_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a question is answered."""

    samples: int = 8
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0: all tokens."""
    max_new_tokens: int = 512
    seed: int = 0
    max_tiles: int | None = None
    """Of a question's pictures together; None: the model's."""
    num_frames: int = 8
    """Of a video file."""

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise ConfigError(f"samples is {self.samples}; a pair needs at least 2 answers")
        if self.temperature <= 0:
            raise ConfigError(f"temperature is {self.temperature}; at 0 all answers are the same one")

    def config(self, key: str) -> GenerationConfig:
        """Return how this question is answered; its chance depends on the seed and the question alone."""
        return GenerationConfig(
            n=self.samples,
            do_sample=True,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            max_new_tokens=self.max_new_tokens,
            random_seed=random.Random(f"{self.seed}/{key}").getrandbits(48),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRule:
    """Which answers are set against each other."""

    right: float = 1.0
    """Score from which an answer is right."""
    wrong: float | None = None
    """Score up to which an answer is wrong; None: below `right`. Between the two it is neither."""
    per_question: int = 4
    reference_as_chosen: bool = False
    """Where no answer is right, the reference answer is set against the wrong ones."""
    seed: int = 0
    """Draws the pairs where there are more than `per_question`."""

    def __post_init__(self) -> None:
        if self.per_question < 1:
            raise ConfigError(f"pairs per question is {self.per_question}; expected at least 1")
        if not 0 <= (self.wrong or 0) <= self.right <= 1:
            raise ConfigError(
                f"an answer is wrong up to {self.wrong} and right from {self.right}; expected 0 <= wrong <= right <= 1"
            )

    def is_right(self, score: float) -> bool:
        """Whether an answer of this score may be chosen."""
        return score >= self.right

    def is_wrong(self, score: float) -> bool:
        """Whether an answer of this score may be rejected."""
        return not self.is_right(score) and (self.wrong is None or score <= self.wrong)


class Answer(NamedTuple):
    """One sampled answer."""

    text: str
    score: float
    finish_reason: str


class Judged(NamedTuple):
    """What came of a question."""

    outcome: Outcome
    pairs: list[tuple[Answer, Answer]]
    """(chosen, rejected)."""


@dataclass(slots=True, kw_only=True)
class PairReport:
    """Counts over a file of pairs."""

    questions: int = 0
    pairs: int = 0
    outcomes: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("mixed", "all_right", "all_wrong", "tie"), 0)
    )
    answers: int = 0
    right: int = 0
    cut_off: int = 0
    """Answers that reached max_new_tokens or went in circles: neither chosen nor rejected."""
    mean_score: float = 0.0
    metrics: dict[str, int] = field(default_factory=dict)
    """Metric -> questions judged by it."""
    not_asked: int = 0
    """Later turns of rows."""
    bad_rows: list[str] = field(default_factory=list)


def sample_and_judge(
    engine: Engine,
    questions: Sequence[PairQuestion],
    answers: Path,
    *,
    sampling: Sampling,
    verifier: Verifier,
    run: Mapping[str, Any],
    on_bad_row: Literal["stop", "skip"] = "stop",
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Answer and judge what is not in the file of answers yet.

    Args:
        engine: Of the model that the pairs shall teach.
        questions: All of them.
        answers: The file; appended to, so that a killed run goes on where it was.
        sampling: How to answer.
        verifier: Judges.
        run: What else was asked for (model, verifier ...): a file of other settings is refused.
        on_bad_row: A question whose media cannot be opened stops, or is listed.
        on_progress: Told (answered, all) at the beginning and after each question.

    Raises:
        ConfigError: The file of answers belongs to another run.
        DataError: A question cannot be asked and `on_bad_row` is "stop".
    """
    asked = json.loads(json.dumps({**run, **asdict(sampling)}))
    with Journal(answers) as journal:
        done = _check(journal, asked, questions, answers)
        todo = [question for question in questions if question.key not in done]
        count = len(questions) - len(todo)
        if on_progress:
            on_progress(count, len(questions))
        for question, found in _ask(engine, todo, sampling):
            if isinstance(found, InternVLError):
                if on_bad_row == "stop":
                    raise DataError(f"{question.where}: {found} (--on-bad-row skip leaves such rows out)")
                journal.append({"key": question.key, "bad_row": f"{question.where}: {found}"})
            else:
                journal.append(_judged(question, found, verifier))
            count += 1
            if on_progress:
                on_progress(count, len(questions))


def write_pairs(
    questions: Sequence[PairQuestion], answers: Path, out: Path, rule: PairRule, *, not_asked: int = 0
) -> PairReport:
    """Write the pairs of all questions whose answers are there, in the questions' order, and count."""
    with Journal(answers) as journal:
        rows = {row["key"]: row for row in journal.rows[1:]}
    report = PairReport(not_asked=not_asked)
    written: list[Row] = []
    metrics: Counter[str] = Counter()
    for question in questions:
        row = rows.get(question.key)
        if row is None:
            continue
        if "bad_row" in row:
            report.bad_rows.append(row["bad_row"])
            continue
        found = [Answer(*answer) for answer in row["answers"]]
        judged = pair_up(question, found, rule)
        report.questions += 1
        report.pairs += len(judged.pairs)
        report.outcomes[judged.outcome] += 1
        report.answers += len(found)
        report.right += sum(rule.is_right(answer.score) for answer in found)
        report.cut_off += sum(_is_cut_off(answer) for answer in found)
        report.mean_score += sum(answer.score for answer in found)
        metrics[row["metric"]] += 1
        written += [_pair_row(question, pair, out.parent) for pair in judged.pairs]
    report.mean_score /= max(1, report.answers)
    report.metrics = dict(metrics.most_common())
    replace(out, lambda target: write_lines(target, written))
    return report


def pair_up(question: PairQuestion, answers: Sequence[Answer], rule: PairRule) -> Judged:
    """Set right answers against wrong ones; equal texts count once, and none is used twice before all are once."""
    distinct = {answer.text.strip(): answer for answer in reversed(answers) if not _is_cut_off(answer)}
    kept = [answer._replace(text=text) for text, answer in reversed(distinct.items()) if text]
    right = [answer for answer in kept if rule.is_right(answer.score)]
    wrong = [answer for answer in kept if rule.is_wrong(answer.score)]
    outcome: Outcome = "mixed"
    if not (right and wrong):
        outcome = "all_right" if kept and len(right) == len(kept) else "tie"
        outcome = "all_wrong" if kept and len(wrong) == len(kept) else outcome
    if rule.reference_as_chosen and wrong and not right:
        right = [Answer(question.truth.text, 1.0, "reference")]
    chance = random.Random(f"{rule.seed}/{question.key}")
    chance.shuffle(right)
    chance.shuffle(wrong)
    return Judged(outcome, list(_spread(right, wrong))[: rule.per_question])


def _spread(right: Sequence[Answer], wrong: Sequence[Answer]) -> Iterator[tuple[Answer, Answer]]:
    """Yield every (right, wrong) once, such that the first ones use each answer equally often."""
    if not (right and wrong):
        return
    longest = max(len(right), len(wrong))
    seen = set()
    for shift in range(longest):
        for number in range(longest):
            pair = number % len(right), (number + shift) % len(wrong)
            if pair not in seen:
                seen.add(pair)
                yield right[pair[0]], wrong[pair[1]]


def _is_cut_off(answer: Answer) -> bool:
    return answer.finish_reason != "stop"


def _pair_row(question: PairQuestion, pair: tuple[Answer, Answer], beside: Path) -> Row:
    chosen, rejected = pair
    scores = [round(answer.score, 4) for answer in pair]
    return {**question.row(beside), "chosen": chosen.text, "rejected": rejected.text, "scores": scores}


def _judged(question: PairQuestion, found: Sequence[Response], verifier: Verifier) -> Row:
    answers = [Answer(each.text, verifier(question, each.text), each.finish_reason or "") for each in found]
    row = {"key": question.key, "where": question.where, "question": question.question}
    return row | {"reference": question.truth.text, "metric": metric_of(question), "answers": answers}


def _check(
    journal: Journal, asked: Mapping[str, Any], questions: Iterable[PairQuestion], path: Path
) -> set[str]:
    """Return what is answered already; refuse answers of another run."""
    if not journal.rows:
        journal.append({"asked": asked})
    then = journal.rows[0].get("asked")
    if then != asked:
        changed = [name for name in asked if not isinstance(then, dict) or then.get(name) != asked[name]]
        raise ConfigError(
            f"{path} holds the answers of a run with another {changed[0] if changed else 'setting'}; name another "
            "--out, or remove that file"
        )
    now = {question.key: question.truth.text for question in questions}
    for row in journal.rows[1:]:
        if row.get("reference", now.get(row["key"])) != now.get(row["key"], row.get("reference")):
            raise ConfigError(
                f"{path}: the reference answer of {row['key']} was {row['reference']!r:.60} then and is another now; "
                "the rows have changed. Name another --out, or remove that file"
            )
    return {row["key"] for row in journal.rows[1:]}


@dataclass(slots=True)
class _Open:
    question: PairQuestion
    answers: dict[int, Response] = field(default_factory=dict)
    num_open: int = 0


def _ask(
    engine: Engine, questions: Iterable[PairQuestion], sampling: Sampling
) -> Iterator[tuple[PairQuestion, list[Response] | InternVLError]]:
    """Ask all, as many together as fit; yield each with its answers, or with why it cannot be asked."""
    waiting = iter(questions)
    deltas: queue.SimpleQueue[Response] = queue.SimpleQueue()
    open_: dict[int, _Open] = {}
    requests = {}
    number, more = 0, True
    ahead = max(2, 2 * engine.num_rows // sampling.samples)
    try:
        while more or open_:
            if more and len(open_) < ahead:
                question = next(waiting, None)
                if question is None:
                    more = False
                    continue
                try:
                    requests[number] = _submit(engine, question, sampling, number, deltas)
                except InternVLError as error:
                    yield question, error
                    continue
                open_[number] = _Open(question, num_open=requests[number].gen_config.n)
                number += 1
                continue
            delta = deltas.get()
            state = open_.get(delta.index)
            if state is None:
                continue  # the other answers of a question that failed
            known = state.answers.get(delta.choice)
            state.answers[delta.choice] = delta if known is None else known.extend(delta)
            if delta.finish_reason == "error":
                requests.pop(delta.index).abort()
                yield open_.pop(delta.index).question, InternVLError(delta.error_message or "no answer")
                continue
            state.num_open -= delta.finish_reason is not None
            if not state.num_open:
                del open_[delta.index], requests[delta.index]
                yield state.question, [state.answers[choice] for choice in sorted(state.answers)]
    finally:
        for request in requests.values():
            request.abort()


def _submit(
    engine: Engine,
    question: PairQuestion,
    sampling: Sampling,
    number: int,
    deltas: queue.SimpleQueue[Response],
) -> Any:
    messages = question.messages(
        engine.processor, max_tiles=sampling.max_tiles, num_frames=sampling.num_frames
    )
    inputs = engine.prepare(messages)
    while True:
        try:
            config = sampling.config(question.key)
            return engine.submit(inputs, config, fit_answer=True, index=number, deltas=deltas)
        except CapacityError:
            time.sleep(_RETRY_S)  # the engine's thread makes room; the deltas wait in their queue


__all__ = ["PairReport", "PairRule", "Sampling", "pair_up", "sample_and_judge", "write_pairs"]
