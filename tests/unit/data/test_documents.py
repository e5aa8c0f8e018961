"""Documents: what is drawn, what is asked and what is true agree."""

import json
import random
import re
from types import SimpleNamespace

import pytest

from internvl.data.absent import says_absent
from internvl.data.coverage import covers
from internvl.data.documents.language import read_language, split_of
from internvl.data.documents.sheet import Sheet, Style, wrap
from internvl.data.documents.table import _rule_above
from internvl.data.documents.table_grid import Cell, Table
from internvl.data.documents.typefaces import find_hands, find_typefaces
from internvl.data.documents.values import Money
from internvl.data.fonts import find_fonts
from internvl.data.preview import find_boxes
from internvl.data.sample import Assets
from internvl.data.skills import make_sample
from nano_assets import requires_fonts

pytestmark = requires_fonts


ASSETS = Assets()
DOCUMENTS = ("lines", "page", "receipt", "invoice", "form", "id_card", "table")
FIELDED = ("receipt", "invoice", "form", "id_card")


def samples(skill, count=6, split="train", seed=1):
    return [make_sample(skill, seed, index, split=split, assets=ASSETS) for index in range(count)]


@pytest.mark.parametrize("skill", DOCUMENTS)
def test_a_sample_is_a_function_of_skill_seed_index_and_split(skill):
    first, again = (make_sample(skill, 3, 5, assets=ASSETS) for _ in range(2))
    other = make_sample(skill, 3, 5, split="held_out", assets=ASSETS)
    assert first.images[0].tobytes() == again.images[0].tobytes()
    assert (first.turns, first.truth) == (again.turns, again.truth)
    assert first.turns != other.turns


@pytest.mark.parametrize("split", ["train", "held_out"])
@pytest.mark.parametrize("skill", DOCUMENTS)
def test_boxes_lie_in_the_picture_and_text_stays_legible(skill, split):
    for sample in samples(skill, 4, split):
        w, h = sample.images[0].size
        boxes = list(find_boxes(sample.truth))
        assert boxes
        for label, (x0, y0, x1, y1) in boxes:
            assert -3 <= x0 <= x1 <= w + 3, (label, sample.truth)
            assert -3 <= y0 <= y1 <= h + 3, (label, sample.truth)
        assert sample.truth["min_text_px"] >= 10
        assert all(turn.question and turn.answer for turn in sample.turns)
        json.dumps(sample.truth)


@pytest.mark.parametrize("skill", FIELDED)
def test_what_is_answered_stands_in_the_truth(skill):
    for sample in samples(skill):
        values = {field["value"] for field in sample.truth["fields"]}
        names = {item.get("name") or item.get("description") for item in sample.truth.get("items", ())}
        for turn in sample.turns:
            if turn.metric == "anls":
                assert turn.answer in values | names
            if turn.metric == "absent":
                assert says_absent(turn.answer)
            if turn.metric == "json_kv_f1" and "labels as keys" not in turn.question:
                known = {field["key"]: field["value"] or None for field in sample.truth["fields"]}
                answered = json.loads(turn.answer)
                assert answered.keys() <= known.keys() | {"items"}
                assert all(answered[key] == known[key] for key in answered if key != "items")


def cents(text):
    digits = re.sub(r"\D", "", text)
    return -int(digits) if text.strip().startswith("-") else int(digits)


@pytest.mark.parametrize("skill", ["receipt", "invoice"])
def test_amounts_add_up(skill):
    for sample in samples(skill, 12):
        fields = {field["key"]: field["value"] for field in sample.truth["fields"]}
        goods = sum(cents(item["amount"]) for item in sample.truth["items"])
        assert cents(fields.get("subtotal", str(goods))) == goods
        extra = sum(cents(fields[key]) for key in ("tax", "discount") if key in fields)
        assert cents(fields["total"]) == goods + extra
        if "change" in fields:
            assert cents(fields["cash"]) - cents(fields["change"]) == cents(fields["total"])


def test_a_table_covers_every_place_once():
    for sample in samples("table", 16):
        places = [
            (r, c)
            for cell in sample.truth["cells"]
            for r in range(cell["row"], cell["row"] + cell["rowspan"])
            for c in range(cell["column"], cell["column"] + cell["colspan"])
        ]
        assert sorted(places) == [
            (r, c) for r in range(sample.truth["rows"]) for c in range(sample.truth["columns"])
        ]


def test_a_merged_table_in_three_forms():
    table = Table(
        2,
        3,
        [
            Cell(0, 0, "a<b", True, colspan=2),
            Cell(0, 2, "c", True),
            Cell(1, 0, "x|y"),
            Cell(1, 1, "1,5"),
            Cell(1, 2, ""),
        ],
    )
    assert table.html() == (
        '<table><tr><th colspan="2">a&lt;b</th><th>c</th></tr><tr><td>x|y</td><td>1,5</td><td></td></tr></table>'
    )
    assert table.markdown() == "| a<b |  | c |\n| --- | --- | --- |\n| x\\|y | 1,5 |  |"
    assert table.csv() == 'a<b,,c\nx|y,"1,5",'
    assert table.merged


def test_a_run_remembers_where_its_ink_is():
    sheet = Sheet((300, 80), paper=(255, 255, 255), rng=random.Random(0))
    path = find_typefaces("Latn", "train")[0].regular
    run = sheet.text(20, 50, "Quay", Style(path, 30, (0, 0, 0)), role="line")
    ink = sheet.image.convert("L").point(lambda v: 255 if v < 128 else 0).getbbox()
    assert ink is not None
    assert max(abs(a - b) for a, b in zip(run["box"], ink, strict=True)) <= 2


def test_wrapping_keeps_every_word_and_the_width():
    style = Style(find_typefaces("Latn", "train")[0].regular, 20)
    text = "the quick brown fox jumps over the lazy dog again and again"
    lines = wrap(text, style, 150)
    assert " ".join(lines) == text
    assert len(lines) > 2
    assert all(style.width(line) <= 150 for line in lines)


def test_held_out_documents_use_other_words_and_fonts():
    words = {split: set(read_language("en", split, None).words) for split in ("train", "held_out")}
    assert words["held_out"]
    assert not words["train"] & words["held_out"]
    assert all(split_of(word) == "held_out" for word in words["held_out"])
    faces = {
        split: {face.regular for face in find_typefaces("Latn", split)} for split in ("train", "held_out")
    }
    assert not faces["train"] & faces["held_out"]
    assert not set(find_hands("train")) & set(find_hands("held_out"))


def test_a_font_covers_what_it_draws():
    path = next(p for p in find_fonts().trained if p.endswith("DejaVuSans.ttf"))
    assert covers(path, "Aß€ Жщ Ω ﬁ")
    assert not covers(path, "漢")
    assert not covers(path, "A\U0010fffe")


@pytest.mark.parametrize(
    ("cents_", "written"), [(0, "0,00"), (5, "0,05"), (-1999, "-19,99"), (123456789, "1.234.567,89")]
)
def test_amounts_are_written_as_the_document_writes_them(cents_, written):
    assert Money("€", "EUR", ",", ".", False).number(cents_) == written


def test_nothing_on_a_card_is_cut_off(monkeypatch):
    date = "17 September 2031"
    monkeypatch.setattr("internvl.data.documents.id_card._value", lambda values, key: date)
    cards = samples("id_card", 40)
    found = [f for card in cards for f in card.truth["fields"] if f["key"] != "issuer"]
    assert len(found) > 120
    assert {f["value"].title() for f in found} == {date}


def test_a_section_is_read_to_its_end():
    several = 0
    for sample in samples("page", 120):
        blocks = sample.truth["blocks"]
        for turn in sample.turns:
            heads = [
                n
                for n, b in enumerate(blocks)
                if b["role"] == "heading" and f'"{b["text"]}"' in turn.question
            ]
            for n in heads:
                body = []
                for block in blocks[n + 1 :]:
                    if block["role"] not in ("paragraph", "item"):
                        break
                    body.append(block["text"])
                assert turn.answer == "\n".join(body)
                several += len(body) > 1
    assert several > 3


def test_a_ticked_box_is_a_field_of_its_form():
    ticked = 0
    for sample in samples("form", 40):
        values = {field["label"]: field["value"] for field in sample.truth["fields"]}
        for mark in sample.truth["marks"]:
            ticked += mark["ticked"]
            assert not mark["ticked"] or values[mark["name"]] == mark["option"]
    assert ticked > 3


def test_no_line_goes_through_a_merged_cell():
    drawn = []
    sheet = SimpleNamespace(rule=lambda x0, y, x1, ink: drawn.append((x0, x1)))
    tall = Cell(row=1, column=1, text="tall", rowspan=2)
    table = Table(
        num_rows=3,
        num_columns=3,
        cells=[tall, *(Cell(row=r, column=c, text="x") for r in (1, 2) for c in (0, 2))],
    )
    _rule_above(sheet, table, 2, [0, 10, 20, 30], 5, (0, 0, 0))
    assert drawn == [(0, 10), (20, 30)]
