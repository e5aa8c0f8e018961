"""Rows of the family -> questions that can be asked and, with two answers, learnt from alone.

In: row files and meta files as `internvl train` takes them. Out: `PairQuestion`s, each with the keys that a row of
pairs begins with, the message that asks it, and what its answers are held against. Called by `evaluation.pairs`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from internvl.errors import ConfigError, DataError
from internvl.evaluation.verdict import Truth
from internvl.media.video import load_video
from internvl.preprocess.processor import Processor
from internvl.train.labels import IMAGE_PLACEHOLDER
from internvl.train.meta import SourceSpec, read_sources
from internvl.train.rows import VIDEO_PLACEHOLDER, ClipSource, Row, parse_row
from internvl.train.sources import resolver
from internvl.types import Message

Turns = Literal["first", "each"]
"""Of a row with several questions: only the first is asked, or each one by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairQuestion:
    """One question about the media of a row."""

    key: str
    """Data set, row and turn, e.g. "receipt:12#0"."""
    where: str
    """File and line."""
    question: str
    """With `<image>` or `<video>` where a medium stands."""
    truth: Truth
    """The reference answer, and others that are as good."""
    metric: str = ""
    """How answers are judged; "": by the look of the reference answer."""
    media: tuple[Any, ...] = ()
    """Paths or URLs of pictures, and `ClipSource`s, in the order of their placeholders."""
    system: str | None = None
    min_tiles: int | None = None
    max_tiles: int | None = None
    """Of the row, shared by its pictures."""

    def messages(self, processor: Processor, *, max_tiles: int | None, num_frames: int) -> list[Message]:
        """Return what asks it; the prompt is the one that `internvl train` learns the answer to.

        Args:
            processor: Of the model that is asked.
            max_tiles: Of the pictures together where the data set says nothing; None: the model's.
            num_frames: Of a video file, the middles of equal parts.

        Raises:
            MediaError: A video cannot be read.
        """
        pictures = [medium for medium in self.media if not isinstance(medium, ClipSource)]
        tiles = self._tiles(processor, max_tiles, len(pictures))
        parts: list[dict[str, Any]] = [{"type": "image", "image": each, **tiles} for each in pictures]
        text = self.question
        for clip in (medium for medium in self.media if isinstance(medium, ClipSource)):
            options: dict[str, Any] = {}
            if not isinstance(clip.source, list):
                options = {"num_frames": num_frames, "start": clip.start, "end": clip.end}
            video = load_video(clip.source, limits=processor.limits, policy=processor.policy, **options)
            # training numbers frames in its own way, which a text that names every frame keeps
            lines = [f"Frame-{number}: {IMAGE_PLACEHOLDER}" for number in range(1, len(video) + 1)]
            text = text.replace(VIDEO_PLACEHOLDER, "\n".join(lines), 1)
            parts.append({"type": "video", "video": video})
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*system, {"role": "user", "content": [*parts, {"type": "text", "text": text}]}]

    def _tiles(self, processor: Processor, max_tiles: int | None, num_pictures: int) -> dict[str, int]:
        """Tile limits of each picture: the pictures of a row share its tiles, as in training."""
        most = self.max_tiles or max_tiles
        if most is None:
            most = processor.config.max_tiles if processor.config.dynamic_tiling else 1
        most = max(1, most // max(1, num_pictures))
        least = {} if self.min_tiles is None else {"min_tiles": min(self.min_tiles, most)}
        return {"max_tiles": most, **least}

    def row(self, beside: Path) -> dict[str, Any]:
        """Return what a row of pairs in the folder `beside` begins with: media, system message, question."""
        found: dict[str, Any] = {"id": self.key}
        pictures = [_name(each, beside) for each in self.media if not isinstance(each, ClipSource)]
        clips = [medium for medium in self.media if isinstance(medium, ClipSource)]
        if pictures:
            found["image"] = pictures[0] if len(pictures) == 1 else pictures
        if clips:
            sources = [
                [_name(frame, beside) for frame in clip.source]
                if isinstance(clip.source, list)
                else _name(clip.source, beside)
                for clip in clips
            ]
            found["video"] = sources[0] if len(sources) == 1 else sources
            if clips[0].start is not None:
                found["clip"] = [clips[0].start, clips[0].end]
        if self.system is not None:
            found["system"] = self.system
        return {**found, "question": self.question}


@dataclass(slots=True, kw_only=True)
class Questions:
    """What there is to ask, and what is not asked."""

    asked: list[PairQuestion] = field(default_factory=list)
    not_asked: int = 0
    """Later turns of rows: those of `turns = "first"`, and those that need the turns before them, which a row of pairs
    cannot hold."""
    bad_rows: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Known:
    """How the answers of a row are judged, as far as the data says it."""

    metrics: tuple[str, ...]
    """One for each answer; fewer where it is not said."""
    others: Sequence[Sequence[str]] = ()
    """Other right answers, of each answer."""
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Other names of a thing."""

    @classmethod
    def of(cls, raw: Any, where: str, beside: Mapping[str, Any], metric: str) -> _Known:
        """Read the keys `metric` or `metrics` and `alternatives` of a row, or its line in the truth file."""
        named = metric or raw.get("metrics") or raw.get("metric") or beside.get("metrics") or ()
        named = (named,) * len(raw["conversations"]) if isinstance(named, str) else named
        if not isinstance(named, list | tuple) or not all(isinstance(each, str) for each in named):
            raise DataError(f"{where}: metric is {named!r:.60}; expected the name of one, or a list of them")
        truth = beside.get("truth", {})
        others = truth.get("alternatives", ())
        if raw.get("alternatives"):
            others = [raw["alternatives"]]
        return cls(
            tuple(named), others, truth.get("names", {}) if isinstance(truth.get("names"), dict) else {}
        )

    def metric(self, number: int) -> str:
        """Of answer `number`; "": not said."""
        return self.metrics[number] if number < len(self.metrics) else ""

    def alternatives(self, number: int, answer: str) -> tuple[str, ...]:
        """Answers that are as good."""
        others = self.others[number] if number < len(self.others) else ()
        return (*others, *self.names.get(answer, ()))


def read_questions(
    rows: Sequence[str | Path],
    *,
    root: str = "",
    turns: Turns = "first",
    metric: str = "",
    on_bad_row: Literal["stop", "skip"] = "stop",
) -> Questions:
    """Read the questions of row files (.jsonl) and meta files (.json).

    Args:
        rows: The files.
        root: Where the media of row files lie; "": beside each file.
        turns: Which questions of a row with several.
        metric: Judges all answers; "": the metric of the row, else of the truth file that `internvl data make` wrote
            beside the rows, else what the look of the reference answer suggests.
        on_bad_row: A row that cannot be used stops, or is listed.

    Raises:
        ConfigError: A file is no JSONL, or there is no question.
        DataError: A row cannot be used.
    """
    found = Questions()
    for spec in read_sources(rows, root=root):
        if spec.format != "jsonl":
            raise ConfigError(
                f"{spec.name}: rows of pairs name their pictures, so questions are read from .jsonl files, not "
                f"{spec.format}. Write them with `internvl data make`, or use --skill"
            )
        number = 0
        for path in spec.files:
            beside = _truth_beside(path)
            resolve = resolver(spec.root, path)
            for line_number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
                if not line.strip():
                    continue
                where, key = f"{path}:{line_number}", f"{spec.name}:{number}"
                number += 1
                try:
                    raw = _json(line, where)
                    row = parse_row(raw, where, resolve)
                    known = _Known.of(raw, where, beside.get(str(raw.get("id")), {}), metric)
                    _add(found, row, known, spec, key, turns)
                except DataError as error:
                    if on_bad_row == "stop":
                        raise DataError(f"{error} (--on-bad-row skip leaves such rows out)") from error
                    found.bad_rows.append(str(error))
    if not found.asked:
        raise ConfigError(f"no row with a question and an answer in {', '.join(map(str, rows))}")
    return found


def _add(
    found: Questions,
    row: Row,
    known: _Known,
    spec: SourceSpec,
    key: str,
    which: Turns,
) -> None:
    """Add the questions of one row."""
    system = row.turns[0].text if row.turns[0].role == "system" else None
    turns = row.turns[1:] if system is not None else row.turns
    pairs = [(ask.text, answer.text) for ask, answer in zip(turns[::2], turns[1::2], strict=False)]
    plain = all(turn.role == ("human", "gpt")[n % 2] for n, turn in enumerate(turns))
    if not plain or not pairs:
        found.not_asked += max(1, len(pairs))
        return
    media, head = _media_of(pairs[0][0], row)
    for number, (text, answer) in enumerate(pairs[: 1 if which == "first" else None]):
        if number and _names_media(text, row):
            found.not_asked += 1  # it has media of its own, and may speak of earlier ones
            continue
        found.asked.append(
            PairQuestion(
                key=f"{key}#{number}",
                where=row.where,
                question=text if number == 0 else head + text,
                truth=Truth(text=answer, alternatives=known.alternatives(number, answer)),
                metric=known.metric(number),
                media=media,
                system=system,
                min_tiles=spec.min_tiles,
                max_tiles=spec.max_tiles,
            )
        )
    found.not_asked += len(pairs) - 1 if which == "first" else 0


def _media_of(question: str, row: Row) -> tuple[tuple[Any, ...], str]:
    """The media of a row's first question, and the head that shows them before another question."""
    clips = any(isinstance(medium, ClipSource) for medium in row.media)
    count = question.count(IMAGE_PLACEHOLDER) * bool(row.num_pictures)
    media = row.media[: count + question.count(VIDEO_PLACEHOLDER) * clips]
    pictures = sum(not isinstance(medium, ClipSource) for medium in media)
    head = f"{IMAGE_PLACEHOLDER}\n" * pictures
    if pictures > 1:
        head = "".join(f"Image-{number}: {IMAGE_PLACEHOLDER}\n" for number in range(1, pictures + 1))
    return media, head + f"{VIDEO_PLACEHOLDER}\n" * (len(media) - pictures)


def _names_media(text: str, row: Row) -> bool:
    clips = len(row.media) - row.num_pictures
    return bool((row.num_pictures and IMAGE_PLACEHOLDER in text) or (clips and VIDEO_PLACEHOLDER in text))


def _json(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: no JSON ({error})") from None


def _truth_beside(path: Path) -> dict[str, Mapping[str, Any]]:
    """id -> what the truth file says that `internvl data make` writes beside the rows; {} where there is none."""
    truth = path.with_suffix(".truth.jsonl")
    if not truth.is_file():
        return {}
    rows = (json.loads(line) for line in truth.read_text(encoding="utf-8").split("\n") if line.strip())
    return {str(row["id"]): row for row in rows}


def _name(source: Any, beside: Path) -> str:
    """Return how a file is named from a folder; URLs as they are."""
    name = str(source)
    if "://" in name or name.startswith("data:"):
        return name
    relative = os.path.relpath(name, beside)
    return relative + "/" if name.endswith("/") else relative
