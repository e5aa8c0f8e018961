"""Tesseract beside the model: the same pictures read by the `tesseract` program, judged by the same metrics."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from internvl.errors import ConfigError, MissingDependencyError
from internvl.evaluation.asking import Answered
from internvl.evaluation.item import EvalSample, EvalSet, Item, Picture
from internvl.evaluation.journal import Journal, Row, make_row
from internvl.evaluation.metrics import READING
from internvl.evaluation.progress import EvalProgress, OnProgress
from internvl.media.image import load_image

TIMEOUT_S = 120
INSTALL = "install it: apt-get install tesseract-ocr (Debian, Ubuntu), brew install tesseract (macOS)"

_PSM = {"ocr_line": 7, "ocr_word": 8, "ocr_para": 6, "ocr_scene": 11, "ocr_page": 3}
"""Page segmentation by task: 3 whole page, 6 a block of text, 7 a line, 8 a word, 11 scattered text."""
_LANGUAGES = {
    "af": "afr", "ar": "ara", "be": "bel", "bg": "bul", "bn": "ben", "ca": "cat", "cs": "ces", "cy": "cym", "da": "dan",
    "de": "deu", "el": "ell", "en": "eng", "es": "spa", "et": "est", "eu": "eus", "fa": "fas", "fi": "fin", "fr": "fra",
    "ga": "gle", "gl": "glg", "he": "heb", "hi": "hin", "hr": "hrv", "hu": "hun", "hy": "hye", "id": "ind", "is": "isl",
    "it": "ita", "ja": "jpn", "ka": "kat", "ko": "kor", "lt": "lit", "lv": "lav", "mk": "mkd", "ms": "msa", "mt": "mlt",
    "nb": "nor", "nl": "nld", "nn": "nor", "no": "nor", "pl": "pol", "pt": "por", "ro": "ron", "ru": "rus", "sk": "slk",
    "sl": "slv", "sq": "sqi", "sr": "srp", "sv": "swe", "sw": "swa", "ta": "tam", "te": "tel", "th": "tha", "tr": "tur",
    "uk": "ukr", "ur": "urd", "vi": "vie", "zh": "chi_sim",
}  # fmt: skip
"""Language tag -> Tesseract's name of its model."""


class Tesseract:
    """The program, and the languages it has.

    Raises:
        MissingDependencyError: It is not installed, or cannot be run.
    """

    def __init__(self) -> None:
        path = shutil.which("tesseract")
        if path is None:
            raise MissingDependencyError(
                f"the program tesseract is not on the PATH; {INSTALL}, or leave --with out"
            )
        self.path = path
        self.version = self._run("--version").partition("\n")[0].removeprefix("tesseract ")
        self.languages = frozenset(line.strip() for line in self._run("--list-langs").splitlines()[1:])

    def _run(self, option: str) -> str:
        try:
            done = subprocess.run(
                [self.path, option], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise MissingDependencyError(f"{self.path} {option} fails ({error}); {INSTALL}") from error
        return done.stdout

    def model_for(self, language: str) -> str:
        """Return the model that reads a language: its own if it is installed, else English."""
        wanted = _LANGUAGES.get(language.partition("-")[0], "")
        return wanted if wanted in self.languages else "eng"

    def read(self, picture: Picture, *, psm: int, model: str) -> Answered:
        """Read a picture; a failure is an answer with finish_reason "error"."""
        image = picture if isinstance(picture, Image.Image) else load_image(picture)
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=1)
        start = time.perf_counter()
        try:
            done = subprocess.run(
                [self.path, "stdin", "stdout", "--psm", str(psm), "-l", model],
                input=buffer.getvalue(),
                capture_output=True,
                timeout=TIMEOUT_S,
                # one picture a process, as many processes as cores: its own threads only get in each other's way
                env={**os.environ, "OMP_THREAD_LIMIT": "1"},
            )
        except (OSError, subprocess.SubprocessError) as error:
            return Answered("", "error", message=f"tesseract: {error}")
        seconds = time.perf_counter() - start
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
            return Answered("", "error", seconds=seconds, message=f"tesseract: {reason}")
        return Answered(done.stdout.decode(errors="replace").strip(), "stop", seconds=seconds)


def is_read(row: Row) -> bool:
    """Whether a question asks for all the text of a picture: what Tesseract does."""
    return (row["task"] == "read" or row["task"] in _PSM) and row["metric"] in READING


def segmentation(set_name: str, item: Item) -> int:
    """Return the --psm that fits best. Whether it is one line Tesseract is told, to its advantage."""
    if item.task in _PSM:
        return _PSM[item.task]
    if set_name == "generated:page":
        return 3
    return 6 if "\n" in item.truth.text else 7


def read_beside(
    reader: Tesseract, sets: Sequence[EvalSet], rows: Sequence[Row], out: Path, on_progress: OnProgress
) -> list[Row]:
    """Let Tesseract answer the reading questions among `rows`; return its lines of OUT/tesseract.jsonl.

    What stands there already is kept.
    """
    sources = {source.name: source for source in sets}
    with Journal(out / "tesseract.jsonl") as journal:
        done = {(row["set"], row["id"]) for row in journal.rows}
        wanted = [
            row for row in rows if is_read(row) and row["set"] in sources and row["finish_reason"] != "media"
        ]
        todo = [row for row in wanted if (row["set"], row["id"]) not in done]
        before = len(wanted) - len(todo)
        progress = EvalProgress(total=len(wanted), done=before, done_before=before, set="with:tesseract")
        on_progress(progress)
        for row in _in_threads(reader, sources, todo):
            journal.append(row)
            progress.done += 1
            progress.questions += 1
            progress.failed += row["finish_reason"] == "error"
            on_progress(progress)
        return journal.rows


def _in_threads(reader: Tesseract, sources: dict[str, EvalSet], todo: Sequence[Row]) -> Iterator[Row]:
    """Read as many pictures at once as there are cores; each is a process of its own."""
    cores = os.cpu_count() or 1

    def read(row: Row) -> Row:
        source = sources[row["set"]]
        sample: EvalSample = source.make(row["sample"])
        item = sample.items[row["turn"]]
        if item.truth.text != row["expected"]:
            raise ConfigError(
                f"{source.name} {row['id']} is another sample now than the model was asked about: the code or the "
                "fonts that draw it have changed. Name another --out"
            )
        psm, model = segmentation(source.name, item), reader.model_for(item.language)
        answer = reader.read(sample.media[0], psm=psm, model=model)
        made = make_row(source.name, sample, row["turn"], answer)
        return made | {"psm": psm, "model": model, "version": reader.version}

    with ThreadPoolExecutor(cores) as pool:
        open_: deque[Future[Row]] = deque()
        try:
            for row in todo:
                open_.append(pool.submit(read, row))
                if len(open_) > 2 * cores:
                    yield open_.popleft().result()
            while open_:
                yield open_.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
