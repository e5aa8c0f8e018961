"""Questions, phrased in many ways, and what is answered when a thing is not in the picture.

A tenth of the phrasings of every kind is never asked in training where a kind has enough of them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence

from internvl.data.sample import Split, Turn

NOT_THERE = "Not in the picture."
"""The plain form; most refusals are exactly this."""
_NOT_THERE_FORMS = (
    "That is not in the picture.",
    "This is not in the picture.",
    "Not in the picture: {what}.",
    "The {what} is not in the picture.",
    "There is no {what} in the picture.",
    "No {what} can be seen in the picture.",
)

FIELD_QUESTIONS = (
    "What is the {what}?",
    "What {what} is given?",
    "What does the document say for the {what}?",
    "Which {what} is written there?",
    "Read the {what}.",
    "Please give me the {what}.",
    "Find the {what} in the picture.",
    "{What}?",
    "Tell me the {what} shown here.",
    "I need the {what}.",
    "What is written as the {what}?",
    "Extract the {what}.",
    "Return only the {what}.",
    "Can you read the {what}?",
    "What is the {what} in this picture?",
    "Look at the document: what is the {what}?",
    "Name the {what}.",
    "Give the {what} exactly as it is written.",
    "What {what} can you see?",
    "State the {what}.",
)
LABEL_QUESTIONS = (
    'What is the value of the field "{label}"?',
    'What stands next to "{label}"?',
    'What is written in the field "{label}"?',
    'Read the entry for "{label}".',
    'What does "{label}" say?',
    'Which value belongs to "{label}"?',
    'Give the value of "{label}".',
    "Fill in: {label} =",
    'What was entered under "{label}"?',
    'Look up "{label}".',
)
READ_QUESTIONS = (
    "Read the text.",
    "Read the text in the image.",
    "What does it say?",
    "What does the sign say?",
    "What does the text say?",
    "What is written here?",
    "What is written in the picture?",
    "Transcribe the text.",
    "Transcribe this.",
    "Read this.",
    "OCR",
    "Please read this to me.",
    "What text is in the picture?",
    "Write down the text you see.",
    "OCR this image.",
    "Type out what is written.",
    "Please transcribe the text exactly as it is written.",
    "Which words can you read?",
    "Copy the text.",
    "What can be read here?",
    "Extract the text of this image.",
    "Give me the text in this picture.",
    "Read everything.",
    "Output only the text in the image.",
)
JSON_QUESTIONS = (
    "Extract all fields of this {kind} as JSON.",
    "Return the fields of the {kind} as JSON.",
    "Give me the content of this {kind} as a JSON object.",
    "Turn this {kind} into JSON.",
    "Read the {kind} and answer with JSON.",
    "Convert the {kind} to JSON: one key per field.",
    "What does the {kind} say? Answer as a JSON object.",
    "List every field of the {kind} in JSON.",
    "Parse this {kind} into JSON.",
    "JSON of this {kind}, please.",
)
KEYS_QUESTIONS = (
    "Return JSON with the keys {keys}.",
    "Extract {keys} as JSON.",
    "Fill in this JSON object: {{{empty}}}",
    "Answer with a JSON object that has the keys {keys}.",
    "Give me {keys} in JSON form.",
    "Read {keys}; answer as JSON, null for what is missing.",
)


def choose(rng: random.Random, forms: Sequence[str], split: Split) -> str:
    """Pick a phrasing; the last tenth is asked in held-out samples only, half of the time."""
    kept = max(1, len(forms) // 10) if len(forms) >= 8 else 0
    if not kept:
        return rng.choice(forms)
    if split == "held_out" and rng.random() < 0.5:
        return rng.choice(forms[-kept:])
    return rng.choice(forms[:-kept])


def ask_field(
    rng: random.Random, what: str, answer: str, split: Split, *, label: str = "", metric: str = "anls"
) -> Turn:
    """Ask for a field by what it is, or by the label that is printed beside it."""
    if label and rng.random() < 0.5:
        question = choose(rng, LABEL_QUESTIONS, split).format(label=label)
    else:
        question = choose(rng, FIELD_QUESTIONS, split).format(what=what, What=what[:1].upper() + what[1:])
    return Turn(
        question=question, answer=answer, metric=metric, task="absent" if metric == "absent" else "field"
    )


def ask_absent(rng: random.Random, what: str, split: Split, *, label: str = "") -> Turn:
    """Ask for a field that is not there."""
    form = NOT_THERE if rng.random() < 0.7 else rng.choice(_NOT_THERE_FORMS).format(what=what)
    return ask_field(rng, what, form, split, label=label, metric="absent")


def ask_read(rng: random.Random, text: str, split: Split) -> Turn:
    """Ask for all text."""
    return Turn(question=choose(rng, READ_QUESTIONS, split), answer=text, metric="cer", task="read")


def ask_json(rng: random.Random, kind: str, fields: Mapping[str, object], split: Split) -> Turn:
    """Ask for everything as JSON, or for some keys; a key that is not there is null."""
    if rng.random() < 0.5:
        keys = rng.sample(list(fields), rng.randint(min(2, len(fields)), len(fields)))
        question = choose(rng, KEYS_QUESTIONS, split).format(
            keys=", ".join(keys), empty=", ".join(f'"{key}": ""' for key in keys)
        )
        fields = {key: fields[key] for key in keys}
    else:
        question = choose(rng, JSON_QUESTIONS, split).format(kind=kind)
        fields = {key: value for key, value in fields.items() if value is not None}
    answer = json.dumps(fields, ensure_ascii=False)
    return Turn(question=question, answer=answer, metric="json_kv_f1", task="json")
