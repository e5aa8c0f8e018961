"""Skill `invoice`: a supplier, a customer, numbers and dates, a table of goods, sums that add up."""

from __future__ import annotations

import datetime
import random

from internvl.data.colours import Rgb
from internvl.data.documents.finish import finish
from internvl.data.documents.language import pick_language, typefaces_of
from internvl.data.documents.record import Record, reading_text
from internvl.data.documents.sheet import Align, Flow, Sheet, Styles
from internvl.data.documents.values import Values, amounts
from internvl.data.sample import Assets, DataSample, Json, Split, Turn

_ACCENTS: tuple[Rgb, ...] = (
    (25, 60, 110),
    (120, 30, 40),
    (20, 90, 70),
    (60, 60, 60),
    (0, 0, 0),
    (90, 50, 120),
)
_LABELS = {
    "number": ("Invoice No", "Invoice number", "Invoice #", "No."),
    "date": ("Date", "Invoice date", "Issued"),
    "due": ("Due date", "Payable by", "Due"),
    "customer_number": ("Customer No", "Client ID", "Account"),
    "order": ("Order No", "PO number", "Your reference"),
    "subtotal": ("Subtotal", "Net amount", "Sum"),
    "tax": ("VAT", "Tax", "GST"),
    "total": ("Total", "Total due", "Amount due", "Balance due", "Invoice total"),
    "to": ("Bill to", "Invoice to", "Customer", "To"),
    "iban": ("IBAN", "Bank account"),
}
_TITLES = ("INVOICE", "Invoice", "TAX INVOICE", "Bill")
_ITEM_QUESTIONS = (
    'What is the amount for "{name}"?',
    "How much is charged for {name}?",
    'Which amount stands in the line "{name}"?',
    "What does {name} cost in total?",
)
_UNIT_QUESTIONS = ('What is the unit price of "{name}"?', "How much is one {name}?", "Unit price of {name}?")
_COUNT_QUESTIONS = (
    "How many positions does the invoice have? Answer with a number.",
    "How many lines are billed? Answer with a number.",
)
_MAY_MISS = {
    "due_date": "due date", "customer_number": "customer number", "order_number": "order number", "iban": "IBAN",
    "tax": "tax amount", "phone": "telephone number", "email": "e-mail address", "discount": "discount",
    "shipping": "shipping cost", "tracking": "tracking number", "website": "website",
}  # fmt: skip


def make_invoice(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Make an invoice and ask about its fields and lines."""
    return _Invoice(rng, split, assets).make()


class _Invoice:
    """One invoice while it is written."""

    def __init__(self, rng: random.Random, split: Split, assets: Assets) -> None:
        self.rng, self.split = rng, split
        language = pick_language(
            rng, assets, "train" if assets.text is None else split, english=1.0, other=0.0
        )
        self.values = Values(rng, split, language)
        self.money = self.values.money()
        self.labels = {key: rng.choice(forms) for key, forms in _LABELS.items()}
        self.record = Record()
        self.size = rng.randint(15, 20)
        tone = rng.randint(235, 255)
        self.accent = rng.choice(_ACCENTS)
        self.styles = Styles.of(
            rng.choice(typefaces_of(language, split)), self.size, (rng.choice((0, 20, 50)),) * 3
        )
        self.width = round(self.size * rng.uniform(42, 56))
        self.sheet = Sheet(
            (self.width, round(self.width * 1.6)), paper=(tone, tone, tone - rng.randint(0, 6)), rng=rng
        )
        self.margin = self.width * rng.uniform(0.05, 0.09)
        self.leading = rng.uniform(1.25, 1.5)
        self.mirrored = rng.random() < (0.8 if split == "held_out" else 0.2)
        """Supplier on the right, numbers on the left."""

    def make(self) -> DataSample:
        """Write it and ask."""
        rng, width = self.rng, self.width
        y = self.size * rng.uniform(1.5, 4)
        half = width / 2
        left, right = (
            self._flow(self.margin, half - self.size, y),
            self._flow(half + self.size, width - self.margin, y),
        )
        supplier, numbers = (right, left) if self.mirrored else (left, right)
        self._supplier(supplier)
        title = self.styles.bold.sized(rng.uniform(1.6, 2.4)).inked(self.accent)
        numbers.line(rng.choice(_TITLES), title, role="title", align="left" if self.mirrored else "right")
        self._numbers(numbers)
        body = self._flow(self.margin, width - self.margin, max(left.y, right.y) + self.size)
        self._customer(body)
        items = self._items(body)
        self._sums(body, items)
        self.sheet.finish(body.y + self.size * rng.uniform(2, 6))
        money = self.money
        rows: list[dict[str, Json]] = [
            {
                "description": name,
                "quantity": count,
                "unit_price": money.number(price),
                "amount": money.number(count * price),
            }
            for name, count, price in items
        ]
        truth: dict[str, Json] = {
            "text": reading_text(self.sheet.runs), "fields": self.record.truth(), "items": rows,
            "lines": self.sheet.runs,
        }  # fmt: skip
        sample = finish(
            rng, self.sheet, skill="invoice", language="en", turns=[], truth=truth,
            split=self.split, looks=(0.45, 0.35, 0.2),
        )  # fmt: skip
        row = rng.choice(rows)
        more = [
            Turn(
                question=rng.choice(_ITEM_QUESTIONS).format(name=row["description"]),
                answer=row["amount"],
                metric="exact_norm",
            ),
            Turn(
                question=rng.choice(_UNIT_QUESTIONS).format(name=row["description"]),
                answer=row["unit_price"],
                metric="exact_norm",
            ),
            Turn(question=rng.choice(_COUNT_QUESTIONS), answer=str(len(rows)), metric="exact_number"),
        ]
        written = {field.key for field in self.record.fields}
        absent = [(what, "") for key, what in _MAY_MISS.items() if key not in written]
        sample.turns = self.record.turns(
            rng, sample, self.split, kind="invoice", absent=absent, more=more, nested={"items": rows}
        )
        return sample

    def _flow(self, left: float, right: float, y: float) -> Flow:
        return Flow(self.sheet, left, right, y, self.leading)

    def _supplier(self, flow: Flow) -> None:
        rng, values, record, styles = self.rng, self.values, self.record, self.styles
        name = styles.bold.sized(rng.uniform(1.1, 1.6)).inked(self.accent)
        record.add(
            "supplier", "name of the supplier", flow.paragraph(values.company(), name, role="supplier")
        )
        runs = flow.paragraph(values.street(), styles.text, role="address")
        runs += flow.paragraph(f"{values.postcode()} {values.city()}", styles.text, role="address")
        record.add("supplier_address", "address of the supplier", runs)
        for key, what, make, share in (
            ("phone", "telephone number", values.phone, 0.5), ("email", "e-mail address", values.email, 0.4)
        ):  # fmt: skip
            if rng.random() < share:
                record.add(key, what, flow.paragraph(make(), styles.text, role=key))

    def _numbers(self, flow: Flow) -> None:
        rng, values = self.rng, self.values
        day = values.day()
        due = day + datetime.timedelta(days=rng.choice((7, 10, 14, 30, 60)))
        rows = [
            ("invoice_number", "invoice number", "number", values.code()),
            ("date", "invoice date", "date", values.date(day)),
        ]
        if rng.random() < 0.7:
            rows.append(("due_date", "due date", "due", values.date(due)))
        if rng.random() < 0.4:
            rows.append(("customer_number", "customer number", "customer_number", values.code()))
        if rng.random() < 0.35:
            rows.append(("order_number", "order number", "order", values.code()))
        flow.gap(self.size * 0.6)
        place = 0.45 if self.mirrored else 1.0
        align: Align = "left" if self.mirrored else "right"
        for key, what, label, value in rows:
            text = self.labels[label] + rng.choice(("", ":"))
            run = flow.row(
                [(text, 0.0, "left"), (value, place, align)], self.styles.text, roles=("label", key)
            )[-1]
            self.record.add(key, what, [run], label=self.labels[label])

    def _customer(self, flow: Flow) -> None:
        rng, values, styles = self.rng, self.values, self.styles
        flow.line(self.labels["to"], styles.bold, role="label")
        name = values.company() if rng.random() < 0.5 else values.person()
        self.record.add(
            "customer",
            "name of the customer",
            [flow.line(name, styles.text, role="customer")],
            label=self.labels["to"],
        )
        runs = [flow.line(values.street(), styles.text, role="customer_address")]
        runs.append(flow.line(f"{values.postcode()} {values.city()}", styles.text, role="customer_address"))
        self.record.add("customer_address", "address of the customer", runs)
        flow.gap(self.size)

    def _items(self, flow: Flow) -> list[tuple[str, int, int]]:
        """Write the table and return (description, quantity, unit price in hundredths)."""
        rng, money, style, size = self.rng, self.money, self.styles.text, self.size
        band = rng.random() < 0.5
        if band:
            box = (flow.left - 4, flow.y - size * 0.15, flow.right + 4, flow.y + size * (self.leading + 0.15))
            self.sheet.frame(box, ink=None, fill=self.accent)
        places: tuple[tuple[float, Align], ...] = (
            (0.0, "left"),
            (0.6, "right"),
            (0.8, "right"),
            (1.0, "right"),
        )
        heads = ("Description", "Qty", "Unit price", "Amount")
        head = self.styles.bold.inked((255, 255, 255)) if band else self.styles.bold
        flow.row([(h, *place) for h, place in zip(heads, places, strict=True)], head, roles=("header",) * 4)
        flow.gap(size * 0.3)
        if not band:
            flow.rule(self.accent, space=size * 0.15)
        lines = rng.random() < 0.4
        items: list[tuple[str, int, int]] = []
        for price in amounts(rng, rng.randint(1, 9), 90000):
            name = self.values.pick(rng.choice(("service", "service", "product"))).capitalize()
            if rng.random() < 0.3:
                name += f" {self.values.code()}"
            if any(name == item[0] for item in items) or style.width(name) > flow.width * 0.52:
                continue
            count = rng.choice((1, 1, 2, 3, 4, 5, 8, 10, 12, 20))
            items.append((name, count, price))
            cells = (name, str(count), money.number(price), money.number(count * price))
            flow.row(
                [(c, *place) for c, place in zip(cells, places, strict=True)], style, roles=("item",) * 4
            )
            if lines:
                flow.rule((190, 190, 190), space=size * 0.2)
        if not items:
            items.append(("Fee", 1, 5000))
            cells = ("Fee", "1", money.number(5000), money.number(5000))
            flow.row(
                [(c, *place) for c, place in zip(cells, places, strict=True)], style, roles=("item",) * 4
            )
        flow.rule(self.accent, space=size * 0.3)
        return items

    def _sums(self, flow: Flow, items: list[tuple[str, int, int]]) -> None:
        rng, money = self.rng, self.money
        total = sum(count * price for _, count, price in items)
        rows = [("subtotal", "subtotal", self.labels["subtotal"], money.number(total), False)]
        if rng.random() < 0.75:
            rate = rng.choice((5, 7, 10, 19, 20, 21, 25))
            tax = (total * rate + 50) // 100
            total += tax
            rows.append(("tax", "tax amount", f"{self.labels['tax']} {rate}%", money.number(tax), False))
        elif rng.random() < 0.6:
            rows.clear()
        rows.append(("total", "total amount", self.labels["total"], money.full(total), True))
        place = 0.5 if rng.random() < 0.7 else 0.0
        for key, what, label, value, bold in rows:
            style = self.styles.bold if bold else self.styles.text
            run = flow.row([(label, place, "left"), (value, 1.0, "right")], style, roles=("label", key))[-1]
            self.record.add(key, what, [run], label=label)
        flow.gap(self.size * 1.5)
        if rng.random() < 0.5:
            letters = "".join(rng.choices("ABCDEFGHIKLNPRSTUVWXYZ", k=2))
            iban = f"{letters}{self.values.digits(2)} " + " ".join(
                self.values.digits(4) for _ in range(rng.randint(3, 5))
            )
            label = self.labels["iban"]
            run = flow.line(f"{label}: {iban}", self.styles.text, role="iban")
            self.record.add("iban", "IBAN", [run], label=label, value=iban)
