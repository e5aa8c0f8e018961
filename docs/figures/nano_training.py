"""Draws the curves of docs/nano-log.md.

    python docs/figures/nano_training.py runs/nano docs/figures/nano-training.png

One strip per stage, side by side, as wide as it took.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from internvl.train.report import read_log, series, smoothed

CURVES = (
    ("patch_glyph", "letter on a patch", "#1f5fa8"),
    ("token_glyphs", "letters of an image token", "#c0562f"),
    ("patch_thing", "thing on a patch", "#8a5aa8"),
    ("token_thing", "thing on an image token", "#c9a227"),
    ("token_loss", "answers", "#2e8b57"),
)
"""Key in the log, what it is, colour."""


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("picture", type=Path)
    args = parser.parse_args()
    stages = [(path.name, read_log(path)) for path in sorted(args.runs.glob("[0-9][0-9]-*")) if path.is_dir()]
    stages = [(name, events) for name, events in stages if series(events, "loss")[0]]
    hours = [sum(series(events, "seconds")[1]) * _interval(events) / 3600 for _, events in stages]
    figure = Figure(figsize=(15, 4), layout="constrained")
    panels = figure.subplots(
        1, len(stages), sharey=True, squeeze=False, width_ratios=[max(hour, 0.35) for hour in hours]
    )[0]
    for axes, (name, events), hour in zip(panels, stages, hours, strict=True):
        for key, label, colour in CURVES:
            steps, values = series(events, key)
            if steps:
                axes.plot(steps, smoothed(values), color=colour, linewidth=1.4, label=label)
        axes.set_title(f"{name.replace('-', chr(10), 1)}\n{60 * hour:.0f} min", fontsize=8)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.set_ylim(0.3, 5.5)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("loss, nats")
    handles = {
        label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=len(handles), frameon=False)
    FigureCanvasAgg(figure).print_png(args.picture)


def _interval(events: list[dict]) -> int:
    """Steps from one line of the log to the next."""
    steps = series(events, "loss")[0]
    return max(1, round(steps[-1] / len(steps)))


if __name__ == "__main__":
    main()
