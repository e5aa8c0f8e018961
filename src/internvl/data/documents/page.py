"""Skill `page`: headings, paragraphs, lists and columns, from a few lines to a full sheet, to be read in order."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile

from internvl.data.documents.asking import ask_absent, ask_read, choose
from internvl.data.documents.finish import finish
from internvl.data.documents.language import (
    Language,
    drawable,
    pick_language,
    typefaces_of,
    write_paragraph,
    write_words,
)
from internvl.data.documents.sheet import Align, Flow, Sheet, Style, Styles, enclose
from internvl.data.documents.values import Values
from internvl.data.sample import Assets, DataSample, Json, Split, Turn, box_answer

_MARKDOWN_QUESTIONS = (
    "Convert this page to Markdown.",
    "Give me the page as Markdown.",
    "Transcribe the page in Markdown.",
    "Turn the document into Markdown, headings included.",
    "Write the text of the page with Markdown headings and lists.",
    "Page to Markdown, please.",
    "Parse this page into Markdown.",
    "What does this page say? Answer in Markdown.",
)
_TITLE_QUESTIONS = (
    "What is the title of the page?",
    "Read the title.",
    "What is the page called?",
    "Which title stands at the top?",
    "Give the main heading.",
    "What is the largest heading?",
    "Name the title of this document.",
    "Title?",
)
_AFTER_QUESTIONS = (
    'Read the section "{what}".',
    'What stands under the heading "{what}"?',
    'Transcribe the text below "{what}".',
    'What does the section "{what}" say?',
)
_START_QUESTIONS = (
    'How does the paragraph that begins with "{what}" go on? Read all of it.',
    'Read the paragraph that begins with "{what}".',
    'Transcribe the paragraph starting with "{what}".',
)
_WHERE_QUESTIONS = (
    "Where is the heading {ref}?",
    "Please provide the bounding box coordinate of the region this sentence describes: {ref}",
    "Find {ref} on the page.",
)
_COLUMN_QUESTIONS = (
    "How many columns of text does the page have? Answer with a number.",
    "In how many columns is the text set? Answer with a number.",
)


@dataclass(slots=True)
class _Block:
    """A piece of a page in reading order."""

    role: str
    text: str
    runs: list[dict[str, Json]] = field(default_factory=list)

    def markdown(self) -> str:
        """Return the block as Markdown."""
        return {"title": "# ", "heading": "## ", "item": "- "}.get(self.role, "") + self.text


def make_page(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Make a page and ask for its text, its parts or its title."""
    language = pick_language(rng, assets, split, english=0.55, other=0.1)
    typeface = rng.choice(typefaces_of(language, split))
    body = rng.randint(15, 24)
    # held-out pages have other proportions
    aspects = (1.2, 1.55) if split == "held_out" else (1.0, 1.3, 1.414, 1.414, 0.75)
    width = rng.choice((520, 680, 827, 900, 1100, 1240))
    height = round(width * rng.choice(aspects))
    tone = rng.randint(228, 255)
    ink_tone = rng.choice((0, 0, 20, 45, 70))
    sheet = Sheet((width, height), paper=(tone, tone - rng.randint(0, 6), tone - rng.randint(0, 20)), rng=rng)
    styles = Styles.of(typeface, body, (ink_tone,) * 3)
    heads = styles if rng.random() < 0.6 else Styles.of(rng.choice(typefaces_of(language, split)), body)
    writer = _Writer(rng, sheet, language, Values(rng, split, language), styles, heads)
    columns = writer.write()
    blocks = writer.blocks
    lowest = max((run["box"][3] for run in sheet.runs), default=height)
    if rng.random() < 0.5:  # cut off, as a screenshot or a note is
        sheet.finish(lowest + body * rng.uniform(1, 4))
    truth: dict[str, Json] = {
        "text": "\n".join(block.text for block in blocks),
        "markdown": _markdown(blocks),
        "columns": columns,
        "blocks": [
            {
                "role": b.role,
                "text": b.text,
                "box": list(enclose([run["box"] for run in b.runs])),
                "lines": b.runs,
            }
            for b in blocks
        ],
    }
    sample = finish(
        rng, sheet, skill="page", language=language.code, turns=[], truth=truth,
        split=split, looks=(0.45, 0.35, 0.2),
    )  # fmt: skip
    sample.turns = _turns(rng, sample, split)
    return sample


class _Writer:
    """Fills a page from the top, column by column; `blocks` are in reading order."""

    def __init__(
        self,
        rng: random.Random,
        sheet: Sheet,
        language: Language,
        values: Values,
        styles: Styles,
        heads: Styles,
    ) -> None:
        self.rng, self.sheet, self.language, self.values = rng, sheet, language, values
        self.styles, self.heads = styles, heads
        self.blocks: list[_Block] = []
        self.leading = rng.uniform(1.2, 1.6)
        self.align = "left"
        self.indent = rng.choice((0.0, 0.0, styles.text.size * 1.5))

    def write(self) -> int:
        """Write the page and return its number of columns."""
        rng, sheet, size = self.rng, self.sheet, self.styles.text.size
        w, h = sheet.image.size
        margin = w * rng.uniform(0.05, 0.1)
        flow = self._flow(margin, w - margin, h * rng.uniform(0.03, 0.07))
        if rng.random() < 0.25:
            self._add(
                "header",
                flow,
                self._phrase(2, 5),
                lambda t: [flow.line(t, self.styles.italic, role="header")],
            )
            flow.rule(self.styles.text.ink, space=size * 0.3)
        if rng.random() < 0.75:
            self._title(flow)
        bottom = h - margin * 0.6 - size * 2.2
        room = flow.width / size
        columns = rng.choice([n for n in (1, 1, 1, 2, 2, 3) if room / n > 15] or [1])
        gutter = size * rng.uniform(1.6, 3.0)
        share = (flow.width - gutter * (columns - 1)) / columns
        order = range(columns - 1, -1, -1) if self.language.rtl else range(columns)
        for column in order:
            left = flow.left + column * (share + gutter)
            self._fill(self._flow(left, left + share, flow.y + size * 0.6), bottom)
        if rng.random() < 0.4:
            number = str(rng.randint(1, 400))
            foot = self._flow(margin, w - margin, h - margin * 0.6 - size)
            self._add(
                "page_number",
                foot,
                number,
                lambda t: [foot.line(t, self.styles.text, role="page_number", align="center")],
            )
        return columns

    def _flow(self, left: float, right: float, y: float) -> Flow:
        return Flow(self.sheet, left, right, y, self.leading, self.language.rtl)

    def _add(self, role: str, flow: Flow, text: str, write: Callable[[str], list[dict[str, Json]]]) -> None:
        path = (self.heads if role in ("title", "heading") else self.styles).text.path
        if text := drawable(text, path):
            runs = write(text)
            space = self.language.space
            self.blocks.append(_Block(role, space.join(run["text"] for run in runs).strip(), runs))

    def _phrase(self, least: int, most: int) -> str:
        text = write_words(self.rng, self.language, self.rng.randint(least, most))
        return text[:1].upper() + text[1:]

    def _title(self, flow: Flow) -> None:
        style = self.heads.bold.sized(self.rng.uniform(1.5, 2.2))
        align: Align = self.rng.choice(("left", "center"))
        space = self.language.space
        self._add(
            "title", flow, self._phrase(1, 6),
            lambda t: flow.paragraph(t, style, role="title", align=align, space=space),
        )  # fmt: skip
        if self.rng.random() < 0.3 and self.language.script == "Latn":
            line = f"{self.values.person()}, {self.values.date(self.values.day())}"
            self._add(
                "byline",
                flow,
                line,
                lambda t: flow.paragraph(t, self.styles.italic, role="byline", align=align),
            )

    def _fill(self, flow: Flow, bottom: float) -> None:
        """Write headings, paragraphs and lists while there is room."""
        rng, size, space = self.rng, self.styles.text.size, self.language.space
        step = size * self.leading
        full = rng.uniform(0.6, 1.0) * (bottom - flow.y) + flow.y
        while full - flow.y > 4 * step:
            if rng.random() < 0.35:
                style = self.heads.bold.sized(rng.uniform(1.1, 1.35))
                self._add(
                    "heading",
                    flow,
                    self._phrase(1, 4),
                    _paragraph(flow, style, space),
                )
            lines = (full - flow.y) / step - 1
            if lines < 1:
                break
            room = int(lines * flow.width / (size * 0.56))
            if rng.random() < 0.2:
                for _ in range(min(int(lines / 2), rng.randint(2, 5))):
                    self._item(flow)
            else:
                text = write_paragraph(rng, self.language, rng.randint(30, max(31, min(420, room))))[
                    : max(20, room)
                ]
                text = text if len(text) < room or not space else text.rsplit(" ", 1)[0]
                self._add(
                    "paragraph",
                    flow,
                    text,
                    lambda t: flow.paragraph(
                        t, self.styles.text, role="paragraph", indent=self.indent, space=space
                    ),
                )
            flow.gap(size * rng.uniform(0.3, 0.9))

    def _item(self, flow: Flow) -> None:
        size = self.styles.text.size
        inner = self._flow(flow.left + size * 1.4, flow.right, flow.y)
        if flow.rtl:
            inner = self._flow(flow.left, flow.right - size * 1.4, flow.y)
        x = flow.right - size * 0.6 if flow.rtl else flow.left + size * 0.6
        y = flow.y + size * self.leading * 0.5
        self.sheet.draw.ellipse(
            (x - size / 7, y - size / 7, x + size / 7, y + size / 7), fill=self.styles.text.ink
        )
        self._add(
            "item",
            inner,
            self._phrase(2, 7),
            lambda t: inner.paragraph(t, self.styles.text, role="item", space=self.language.space),
        )
        flow.y = inner.y


def _paragraph(flow: Flow, style: Style, space: str) -> Callable[[str], list[dict[str, Json]]]:
    return lambda text: flow.paragraph(text, style, role="heading", space=space)


def _markdown(blocks: list[_Block]) -> str:
    """Join blocks: a blank line between them, none between items; running heads and page numbers are left out."""
    text = ""
    before = ""
    for block in blocks:
        if block.role in ("header", "page_number"):
            continue
        text += ("" if not text else "\n" if before == block.role == "item" else "\n\n") + block.markdown()
        before = block.role
    return text


def _turns(rng: random.Random, sample: DataSample, split: Split) -> list[Turn]:
    """Ask for all of it, or for parts; places are asked for after the photograph, where they lie now."""
    truth = sample.truth
    blocks = truth["blocks"]
    turns = []
    if rng.random() < 0.55:
        turns.append(ask_read(rng, truth["text"], split))
    elif rng.random() < 0.6 and truth["markdown"]:
        turns.append(
            Turn(question=choose(rng, _MARKDOWN_QUESTIONS, split), answer=truth["markdown"], metric="ned")
        )
    titles = [b for b in blocks if b["role"] == "title"]
    if titles and rng.random() < 0.4:
        turns.append(
            Turn(question=choose(rng, _TITLE_QUESTIONS, split), answer=titles[0]["text"], metric="cer")
        )
    elif not titles and rng.random() < 0.2 and not any(b["role"] == "heading" for b in blocks):
        turns.append(ask_absent(rng, "title", split))
    starts = [" ".join(b["text"].split()[:4]) for b in blocks]
    parts = [
        (b, s)
        for b, s in zip(blocks, starts, strict=True)
        if b["role"] == "paragraph" and starts.count(s) == 1
    ]
    if parts and (not turns or rng.random() < 0.3):
        block, start = rng.choice(parts)
        question = rng.choice(_START_QUESTIONS).format(what=start)
        turns.append(Turn(question=question, answer=block["text"], metric="cer"))
    heads = [b for b in blocks if b["role"] == "heading"]
    if heads and rng.random() < 0.25:
        block = rng.choice(heads)
        question = rng.choice(_WHERE_QUESTIONS).format(ref=f"<ref>{block['text']}</ref>")
        answer = box_answer(block["text"], [block["box"]], sample.images[0].size)
        turns.append(Turn(question=question, answer=answer, metric="iou@0.5"))
    for n, (block, after) in enumerate(zip(blocks, blocks[1:], strict=False), 1):
        if block["role"] == "heading" and after["role"] == "paragraph" and rng.random() < 0.1:
            question = rng.choice(_AFTER_QUESTIONS).format(what=block["text"])
            section = takewhile(lambda b: b["role"] in ("paragraph", "item"), blocks[n:])
            turns.append(Turn(question=question, answer="\n".join(b["text"] for b in section), metric="cer"))
    if rng.random() < 0.08:
        turns.append(
            Turn(question=rng.choice(_COLUMN_QUESTIONS), answer=str(truth["columns"]), metric="exact_number")
        )
    return turns or [ask_read(rng, truth["text"], split)]
