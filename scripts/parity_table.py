"""Write docs/parity.md: every recorded checkpoint, in both layouts, against the recorded reference.

./run python scripts/parity_table.py

The GitHub checkpoints are measured as recorded and again after `internvl convert --layout hf`, with the same
recorded numbers; the transformers checkpoints were recorded with transformers itself. Needs the recordings
(INTERNVL_SHARED) and the development install.
"""

import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from internvl.checkpoint.convert import convert  # noqa: E402
from internvl.checkpoint.load import load_model  # noqa: E402
from internvl.errors import InternVLError  # noqa: E402
from internvl.models.internvl import InternVLModel  # noqa: E402
from recorded import Recording, difference, greedy, recorded_checkpoints  # noqa: E402


@dataclass
class Row:
    """One line of the table; numbers are the largest absolute differences over all recorded cases."""

    name: str
    layout: str
    features: float | None = None
    logits: float | None = None
    greedy: str = ""
    batch: str = ""
    note: str = ""


def main() -> None:
    """Measure everything and write the page."""
    if not recorded_checkpoints("checkpoints"):
        sys.exit("parity_table: no recordings found; set INTERNVL_SHARED")
    rows = []
    for row in measure_all():
        print(row, flush=True)
        rows.append(row)
    (ROOT / "docs" / "parity.md").write_text(page(rows), encoding="utf-8")


def measure_all() -> Iterator[Row]:
    """Every recorded checkpoint in every layout it can be had in."""
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        for name in recorded_checkpoints("checkpoints"):
            recording = Recording("checkpoints", name)
            yield measure_github(recording, load_model(recording.directory, dtype="float32"), "GitHub")
            try:
                converted = convert(recording.directory, Path(folder, name), layout="hf")
            except InternVLError as error:
                yield Row(name, "HF, converted", note=str(error))
                continue
            yield measure_github(recording, load_model(converted.directory, dtype="float32"), "HF, converted")
        for name in recorded_checkpoints("checkpoints_hf"):
            recording = Recording("checkpoints_hf", name)
            yield measure_hf(recording, load_model(recording.directory, dtype="float32"))


def measure_github(recording: Recording, model: InternVLModel, layout: str) -> Row:
    """Cases recorded from upstream's chat() and batch_chat()."""
    tensors, row = recording.tensors, Row(recording.name, layout)
    features = model.image_embeds(recording.pixel_values(["image0"]))
    row.features = difference(features, tensors["extract_feature"])
    row.logits, equal, total = 0.0, 0, 0
    for case, facts in recording.cases.items():
        if case == "batch_chat":
            continue
        pixel_values = recording.pixel_values(facts["pixel_values"])
        image_embeds = None if pixel_values is None else model.image_embeds(pixel_values)
        inputs_embeds = model.merge(torch.tensor([facts["input_ids"]]), image_embeds)
        logits = model.decoder.lm_head(model.decoder(inputs_embeds))[0]
        row.logits = max(row.logits, difference(logits[facts["logit_rows"]], tensors[f"{case}.logits_rows"]))
        ids, _ = greedy(
            model, inputs_embeds, max_new_tokens=facts["max_new_tokens"], eos_token_id=facts["eos_token_id"]
        )
        equal += ids == facts["greedy_ids"][: len(ids)]
        total += 1
    row.greedy = f"{equal}/{total}"
    facts = recording.cases["batch_chat"]
    input_ids, mask = torch.tensor(facts["input_ids"]), torch.tensor(facts["attention_mask"])
    logits = model(input_ids, recording.pixel_values(facts["pixel_values"]), mask)[:, -1]
    row.batch = f"{difference(logits, tensors['batch_chat.last_logits']):.1e}"
    return row


def measure_hf(recording: Recording, model: InternVLModel) -> Row:
    """Cases recorded from transformers' own class."""
    tensors, row = recording.tensors, Row(recording.name, "HF, recorded", features=0.0, logits=0.0)
    equal, total, batch = 0, 0, 0.0
    for case, facts in recording.cases.items():
        image_embeds = tensors.get(f"{case}.image_features")
        if f"{case}.pixel_values" in tensors:
            found = model.image_embeds(tensors[f"{case}.pixel_values"])
            row.features = max(row.features, difference(found, image_embeds))
        input_ids, mask = torch.tensor(facts["input_ids"]), torch.tensor(facts["attention_mask"])
        inputs_embeds = model.merge(input_ids, image_embeds)
        logits = model.decoder.lm_head(model.decoder(inputs_embeds, attention_mask=mask))
        worst = difference(logits[:, facts["logit_rows"]], tensors[f"{case}.logits_rows"])
        if len(input_ids) > 1:
            batch = max(batch, worst)
            continue
        row.logits = max(row.logits, worst)
        expected = facts["greedy_ids"][0]
        ids, _ = greedy(model, inputs_embeds, max_new_tokens=len(expected), eos_token_id=None)
        equal += ids == expected
        total += 1
    row.greedy, row.batch = f"{equal}/{total}", f"{batch:.1e}"
    return row


def page(rows: list[Row]) -> str:
    """The whole document."""
    head = f"""# Parity with the reference

Made by `./run python scripts/parity_table.py`; do not edit. float32, CPU, torch {torch.__version__},
Python {platform.python_version()}.

Small random checkpoints of every family, recorded from upstream (transformers 4.37.2 and 4.57.1) and from
transformers 5.23. *Features* (after the projector), *logits* and *batch* (logits of a left-padded batch of
three) are the largest absolute difference over all cases; *greedy* counts answers of 24 tokens, made with the
cache, that are equal id for id. The reference differs from itself in float64 by 1.5e-5 to 1.2e-4 in the logits
(Phi-3 2.8e-4). "HF, converted" is the same checkpoint after `internvl convert --layout hf`, loaded anew and
compared with the same recording.

The released checkpoints themselves cannot be downloaded where this table is made: they are not in it.

| checkpoint | layout | features | logits | greedy | batch |
|---|---|---|---|---|---|
"""
    lines = []
    for row in rows:
        if row.note:
            lines.append(f"| {row.name} | {row.layout} | {row.note} | | | |")
        else:
            lines.append(
                f"| {row.name} | {row.layout} | {row.features:.1e} | {row.logits:.1e} | {row.greedy} | {row.batch} |"
            )
    return head + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
