"""`internvl train RECIPE... --dry-run`: what a run would cost, and what its rows teach, without a step of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from internvl.cli.output import amount, console, duration, plain, print_json, print_table, table

if TYPE_CHECKING:
    from internvl.preprocess.processor import Processor
    from internvl.train.config import TrainConfig
    from internvl.train.predict import Prediction
    from internvl.train.stages import Stage

#: Batches of the recipe's data that are looked at.
NUM_BATCHES = 16


def show(stages: Sequence[Stage], num_rows: int, *, as_json: bool) -> None:
    """Predict each stage that is not complete; one whose model is still to be trained has the shape of that model."""
    from internvl.train.predict import facts
    from internvl.train.stages import check_stages

    out = console()
    num_ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if len(stages) == 1:
        prediction, batches, processor = _predict(stages[0].config, num_ranks)
        if as_json:
            print_json(facts(prediction))
        else:
            _show_one(out, prediction, batches, processor, num_rows)
        return
    found: list[dict[str, Any]] = []
    total_s = 0.0
    for number, (stage, step) in enumerate(zip(stages, check_stages(stages, num_ranks), strict=True), 1):
        about: dict[str, Any] = {
            "recipe": str(stage.recipe),
            "output": stage.config.output,
            "complete": step is not None,
        }
        found.append(about)
        if not as_json:
            out.print(plain(f"{number} of {len(stages)}: {stage.recipe} -> {stage.final}", "bold"))
        if step is not None:
            if not as_json:
                out.print(plain(f"complete at step {step}; would be skipped"))
                out.print()
            continue
        config = stage.shape()
        if config is not stage.config and not as_json:
            out.print(
                plain(
                    f"{stage.config.model.path} is not there yet: predicted with the shape of {config.model.path}"
                )
            )
        prediction, batches, processor = _predict(config, num_ranks)
        about |= facts(prediction)
        total_s += prediction.total_seconds
        if not as_json:
            _show_one(out, prediction, batches, processor, num_rows)
            out.print()
    if as_json:
        print_json({"stages": found})
    else:
        out.print(plain(f"time of all stages: {duration(total_s)}"))


def _predict(config: TrainConfig, num_ranks: int) -> tuple[Prediction, list[Any], Processor]:
    from internvl.train.parallel import Ranks
    from internvl.train.predict import predict
    from internvl.train.run_data import make_processor, make_source, with_steps
    from internvl.train.setup import make_model

    processor = make_processor(config)
    config = with_steps(config, processor, num_ranks)
    source = make_source(config, processor, Ranks())
    batches: list[Any] = []
    while len(batches) < NUM_BATCHES:
        try:
            batches.append(next(source))
        except StopIteration:
            break
    num_rows = source.dataset.num_rows
    prediction = predict(
        config, make_model(config, device="meta"), batches, num_rows=num_rows, num_ranks=num_ranks
    )
    return prediction, batches, processor


def _show_one(
    out: Any, prediction: Prediction, batches: Sequence[Any], processor: Processor, num_rows: int
) -> None:
    made = table("", "predicted", right=("predicted",))
    share = prediction.num_trained / prediction.num_parameters
    lines = [
        ("parameters", f"{prediction.num_parameters / 1e6:.1f} M"),
        ("trained", f"{prediction.num_trained / 1e6:.1f} M ({share:.0%})"),
        ("memory", amount(prediction.total_bytes)),
        ("  weights", amount(prediction.weight_bytes)),
        ("  gradients", amount(prediction.gradient_bytes)),
        ("  optimizer", amount(prediction.optimizer_bytes)),
        ("  activations", amount(prediction.activation_bytes)),
        ("tokens a step", f"{prediction.tokens_per_step:,.0f}"),
        ("  learnt", f"{prediction.labels_per_step:,.0f}"),
        ("tiles a step", f"{prediction.tiles_per_step:,.0f}"),
        ("rows a step", f"{prediction.documents_per_step:,.1f}"),
        ("packing efficiency", f"{prediction.packing_efficiency:.1%}"),
        ("time a step", duration(prediction.seconds_per_step)),
        ("steps", f"{prediction.steps:,}"),
        ("time in all", duration(prediction.total_seconds)),
        ("tokens in all", f"{prediction.total_tokens / 1e6:,.1f} M"),
    ]
    for name, value in lines:
        made.add_row(plain(name), plain(value))
    print_table(out, made)
    for text in loss_masks(batches, processor, num_rows):
        out.print()
        out.print(text)


def loss_masks(batches: Sequence[Any], processor: Processor, count: int) -> Iterator[Any]:
    """The first documents as text: what is learnt on green, the prompt dim, pictures as their number of tokens."""
    from internvl.train.batch import IGNORE_INDEX

    for number, (ids, labels) in enumerate(_documents(batches)):
        if number >= count:
            return
        learnt = sum(label != IGNORE_INDEX for label in labels)
        shown = Text(f"row {number + 1}: {len(ids)} tokens, {learnt} learnt\n", style="bold")
        start = 0
        while start < len(ids):
            kind = _kind(ids[start], labels[start], processor.image_token_id)
            stop = start
            while stop < len(ids) and _kind(ids[stop], labels[stop], processor.image_token_id) == kind:
                stop += 1
            if kind == "image":
                shown.append(f"[{stop - start} image tokens]", style="cyan")
            else:
                text = processor.tokenizer.decode(ids[start:stop], skip_special_tokens=False)
                if kind == "learnt" and not sys.stdout.isatty():
                    text = f"«{text}»"  # no colours into a pipe
                shown.append(text, style="black on green" if kind == "learnt" else "dim")
            start = stop
        yield shown


def _documents(batches: Sequence[Any]) -> Iterator[tuple[list[int], list[int]]]:
    for batch in batches:
        rows = getattr(batch, "sequences", batch)
        if rows.cu_seqlens is not None:
            edges = rows.cu_seqlens.tolist()
            for start, stop in zip(edges, edges[1:], strict=False):
                yield rows.input_ids[0, start:stop].tolist(), rows.labels[0, start:stop].tolist()
            continue
        for row in range(rows.input_ids.shape[0]):
            width = rows.input_ids.shape[1]
            kept = slice(None) if rows.attention_mask is None else rows.attention_mask[row].nonzero()[:, 0]
            ids, labels = rows.input_ids[row][kept], rows.labels[row][kept]
            assert len(ids) <= width
            yield ids.tolist(), labels.tolist()


def _kind(token: int, label: int, image_token_id: int) -> str:
    if token == image_token_id:
        return "image"
    return "prompt" if label < 0 else "learnt"
