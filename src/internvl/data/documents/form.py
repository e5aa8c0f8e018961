"""Skill `form`: printed labels, entries that are typed or written by hand, boxes to tick, fields left empty."""

from __future__ import annotations

import random

from internvl.data.colours import Rgb
from internvl.data.documents.finish import finish
from internvl.data.documents.labels import FORM_KEYS, FORM_LANGUAGES, form_labels
from internvl.data.documents.language import pick_language, typefaces_of
from internvl.data.documents.record import Record, reading_text
from internvl.data.documents.sheet import Sheet, Style, Styles
from internvl.data.documents.typefaces import find_hands
from internvl.data.documents.values import Values
from internvl.data.sample import Assets, DataSample, Json, Split, Turn

_WHAT = {
    "name": "full name", "date_of_birth": "date of birth", "address": "street address", "city": "city",
    "postal_code": "postal code", "country": "country", "phone": "telephone number", "email": "e-mail address",
    "occupation": "occupation", "id_number": "passport number", "nationality": "nationality",
    "place_of_birth": "place of birth", "department": "department", "customer_number": "customer number",
    "date": "date",
}  # fmt: skip
_TITLES = ("Registration form", "Application", "Personal data", "Membership application", "Order form", "Questionnaire",
           "Change of address", "Visitor form")  # fmt: skip
_HELD_OUT_TITLES = ("Declaration", "Request for service", "Enrolment")
_CHOICES = {
    "Sex": ("male", "female", "other"), "Marital status": ("single", "married", "divorced"),
    "Newsletter": ("yes", "no"), "Payment": ("cash", "card", "transfer"), "Title": ("Ms", "Mr", "Dr"),
    "Contact by": ("phone", "e-mail", "letter"), "First visit": ("yes", "no"), "Class": ("A", "B", "C", "D"),
}  # fmt: skip
_TICK_QUESTIONS = (
    'Which box is ticked for "{what}"?',
    'What is marked under "{what}"?',
    'Which option of "{what}" is chosen?',
    '"{what}": which one is checked?',
)
_INKS: tuple[Rgb, ...] = ((20, 30, 120), (15, 15, 20), (30, 60, 150), (60, 60, 70))


def make_form(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Make a filled form and ask about its entries."""
    language = pick_language(rng, assets, split, english=0.55, other=0.0, choices=FORM_LANGUAGES)
    values = Values(rng, split, language)
    size = rng.randint(15, 21)
    styles = Styles.of(rng.choice(typefaces_of(language, split)), size, (rng.choice((0, 30, 60)),) * 3)
    entry = styles.text.inked(rng.choice(_INKS))
    if rng.random() < 0.45:
        entry = Style(rng.choice(find_hands(split)), round(size * 1.2), rng.choice(_INKS), hand=True)
    labels = form_labels(rng, language.code)
    keys = sorted(rng.sample(FORM_KEYS, rng.randint(4, 11)), key=FORM_KEYS.index)
    columns = 2 if split == "held_out" or rng.random() < 0.25 else 1
    above = columns == 2 or rng.random() < 0.35
    width = round(size * (46 if columns == 2 else rng.uniform(30, 42)))
    tone = rng.randint(238, 255)
    sheet = Sheet(
        (width, size * 80), paper=(tone, tone - rng.randint(0, 5), tone - rng.randint(0, 14)), rng=rng
    )
    margin = width * 0.06
    y = size * rng.uniform(2, 3.5)
    record = Record()
    title = rng.choice(_HELD_OUT_TITLES if split == "held_out" else _TITLES)
    sheet.text(margin, y, title, styles.bold.sized(1.5), role="title")
    if rng.random() < 0.6:
        run = sheet.text(
            width - margin, y, f"F-{values.digits(3)}", styles.text, role="form_number", align="right"
        )
        record.add("form_number", "form number", [run])
    y += size * 1.6
    look = rng.choice(("box", "line", "dots", "band"))
    step = size * (3.4 if above else 2.4)
    share = (width - 2 * margin - (columns - 1) * size * 2) / columns
    name_width = min(0.5 * share, max(styles.text.width(labels[key]) for key in keys) + size)
    for n, key in enumerate(keys):
        left = margin + (n % columns) * (share + size * 2)
        top = y + (n // columns) * step
        base = top + size * 1.3
        sheet.text(left, top + size * 0.9 if above else base, labels[key], styles.text, role="label")
        x0 = left if above else left + name_width
        base = top + size * 2.55 if above else base
        area = (x0, base - size * 1.3, left + share, base + size * 0.55)
        _field(sheet, area, look)
        value = "" if rng.random() < 0.08 else _value(values, key)
        while value and entry.width(value) > area[2] - area[0] - size:
            value = value[: value.rindex(" ")] if " " in value else value[:-1]
        runs: list[dict[str, Json]] = [{"text": "", "box": [round(v, 1) for v in area]}]
        if value:
            runs = [sheet.text(x0 + size * 0.5, base, value, entry, role=key)]
        record.add(key, _WHAT[key], runs, label=labels[key])
    y += -(-len(keys) // columns) * step + size
    ticks: list[Turn] = []
    marks: list[dict[str, Json]] = []
    for what in rng.sample(list(_CHOICES), rng.choice((0, 0, 1, 2))) if language.code == "en" else ():
        ticks.append(_options(rng, sheet, what, margin, y, styles, marks, entry.ink, record))
        y += size * 2
    sheet.finish(y + size * rng.uniform(0.5, 3))
    truth: dict[str, Json] = {
        "text": reading_text(sheet.runs), "fields": record.truth(), "lines": sheet.runs, "marks": marks,
    }  # fmt: skip
    sample = finish(
        rng, sheet, skill="form", language=language.code, turns=[], truth=truth, split=split,
        looks=(0.4, 0.35, 0.25),
    )  # fmt: skip
    absent = [(_WHAT[key], labels[key]) for key in FORM_KEYS if key not in keys and key != "date"]
    sample.turns = record.turns(rng, sample, split, kind="form", absent=absent, more=ticks)
    if rng.random() < 0.15:  # the printed labels as keys
        sample.turns.append(_by_label(record))
    return sample


def _by_label(record: Record) -> Turn:
    import json

    pairs = {field.label: field.value for field in record.fields if field.label and field.value}
    answer = json.dumps(pairs, ensure_ascii=False)
    question = "Extract all fields of this form as JSON, with the printed labels as keys."
    return Turn(question=question, answer=answer, metric="json_kv_f1")


def _value(values: Values, key: str) -> str:
    rng = values.rng
    return {
        "name": values.person, "date_of_birth": lambda: values.date(values.day(1940, 2010)), "address": values.street,
        "city": values.city, "postal_code": values.postcode, "country": lambda: values.pick("country"),
        "phone": values.phone, "email": values.email, "occupation": lambda: values.pick("occupation"),
        "id_number": lambda: rng.choice("ABCEFGLNPRT") + values.digits(rng.choice((7, 8))),
        "nationality": lambda: values.pick("country"), "place_of_birth": values.city,
        "department": lambda: values.word().capitalize(), "customer_number": values.code,
        "date": lambda: values.date(values.day()),
    }[key]()  # fmt: skip


def _field(sheet: Sheet, area: tuple[float, float, float, float], look: str) -> None:
    gray: Rgb = (150, 150, 150)
    if look == "box":
        sheet.frame(area, ink=gray)
    elif look == "band":
        sheet.frame(area, ink=None, fill=(226, 232, 240))
    else:
        sheet.rule(area[0], round(area[3]), area[2], ink=gray, dash=3 if look == "dots" else 0)


def _options(
    rng: random.Random,
    sheet: Sheet,
    what: str,
    x: float,
    y: float,
    styles: Styles,
    marks: list[dict[str, Json]],
    ink: Rgb,
    record: Record,
) -> Turn:
    """Write a row of boxes, one of them ticked, which is a field of the form as others are."""
    size = styles.text.size
    sheet.text(x, y + size, what, styles.text, role="label")
    chosen = rng.choice(_CHOICES[what])
    x += max(styles.text.width(what), size * 7) + size
    for option in _CHOICES[what]:
        box = (x, y + size * 0.15, x + size * 0.95, y + size * 1.1)
        sheet.frame(box, ink=(60, 60, 60), width=max(1, size // 12))
        if option == chosen:
            _tick(rng, sheet, box, ink)
        marks.append(
            {"name": what, "option": option, "ticked": option == chosen, "box": [round(v, 1) for v in box]}
        )
        run = sheet.text(x + size * 1.4, y + size, option, styles.text, role="option")
        if option == chosen:
            record.add(what.lower().replace(" ", "_"), what.lower(), [run], label=what)
        x = run["box"][2] + size * 1.5
    return Turn(question=rng.choice(_TICK_QUESTIONS).format(what=what), answer=chosen, metric="exact_ci")


def _tick(rng: random.Random, sheet: Sheet, box: tuple[float, float, float, float], ink: Rgb) -> None:
    x0, y0, x1, y1 = box
    width = max(2, round((x1 - x0) / 7))
    over = (x1 - x0) * rng.uniform(0, 0.25)
    if rng.random() < 0.5:
        sheet.draw.line((x0 - over, y0 - over, x1 + over, y1 + over), fill=ink, width=width)
        sheet.draw.line((x0 - over, y1 + over, x1 + over, y0 - over), fill=ink, width=width)
    else:
        points = ((x0 + width, (y0 + y1) / 2), ((x0 + x1) / 2, y1 - width), (x1 + over, y0 - over))
        sheet.draw.line(points, fill=ink, width=width, joint="curve")
