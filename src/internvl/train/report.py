"""What a run leaves to read: a line of JSON per event, TensorBoard, and at the end plots (PNG) and a page (HTML).

`log.jsonl` is the record; the rest is made from it. A run that resumes forgets the lines behind its checkpoint, so
that every step stands there once.
"""

from __future__ import annotations

import html
import importlib.util
import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from internvl.errors import MissingDependencyError

LOG_NAME = "log.jsonl"
#: Panels of the plot: title, key, kind of line, logarithmic.
PANELS = (
    ("loss", "loss", False),
    ("validation loss", "validation_loss", False),
    ("learning rate", "learning_rate", False),
    ("norm of the gradients", "grad_norm", True),
    ("tokens per second", "tokens_per_s", False),
    ("share of peak (MFU)", "mfu", False),
)

Event = dict[str, Any]


class RunLog:
    """Writes events as they come; a no-op on all ranks but the first (`directory` None)."""

    def __init__(self, directory: Path | None, *, first_step: int = 0, tensorboard: bool = True) -> None:
        self.directory = directory
        self._writer: Any = None
        if directory is None:
            return
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / LOG_NAME
        kept = [event for event in read_log(directory) if event["step"] <= first_step]
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(b"".join(_line(event) for event in kept))
        os.replace(temporary, path)
        if tensorboard:
            self._writer = _summary_writer(directory / "tensorboard", first_step)

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Write one event; numbers go to TensorBoard too."""
        if self.directory is None:
            return
        with (self.directory / LOG_NAME).open("ab") as file:
            file.write(_line({"kind": kind, "step": step, **values}))
        if self._writer is not None:
            for name, value in values.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    self._writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Let TensorBoard's file reach the disk."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None


def read_log(directory: Path) -> list[Event]:
    """The events of a run, in order; a line that was cut off by a crash is left out."""
    path = directory / LOG_NAME
    if not path.exists():
        return []
    events = []
    for line in path.read_bytes().split(
        b"\n"
    ):  # and nowhere else: a logged answer may hold other ends of lines
        try:
            events.append(json.loads(line))
        except ValueError:
            break
    return events


def write_report(directory: Path, *, title: str, facts: Mapping[str, Any]) -> list[Path]:
    """Draw `report.png` and write `report.html` from the log; return what was written.

    Without matplotlib there is only the page, with its figures as a table.
    """
    events = read_log(directory)
    written = []
    picture = _draw(events, title)
    if picture is not None:
        (directory / "report.png").write_bytes(picture["png"])
        written.append(directory / "report.png")
    page = _page(title, facts, events, None if picture is None else picture["svg"].decode())
    (directory / "report.html").write_text(page, encoding="utf-8")
    return [*written, directory / "report.html"]


def series(events: Iterable[Event], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of one figure; validation is its own kind of event."""
    kind, name = ("validation", "loss") if key == "validation_loss" else ("step", key)
    points = [
        (event["step"], float(event[name]))
        for event in events
        if event["kind"] == kind and isinstance(event.get(name), int | float)
    ]
    return [step for step, _ in points], [value for _, value in points]


def smoothed(values: list[float], share: float = 0.05) -> list[float]:
    """Running mean whose memory is `share` of the run."""
    keep = 1 - 1 / max(1.0, share * len(values))
    result: list[float] = []
    total, weight = 0.0, 0.0
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        result.append(total / weight)
    return result


def _draw(events: list[Event], title: str) -> dict[str, bytes] | None:
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    panels = [panel for panel in PANELS if series(events, panel[1])[0]]
    rows = max(1, -(-len(panels) // 2))
    figure = Figure(figsize=(12, 3.2 * rows), layout="constrained")
    figure.suptitle(title)
    for number, (name, key, logarithmic) in enumerate(panels):
        axes = figure.add_subplot(rows, 2, number + 1)
        steps, values = series(events, key)
        many = len(values) > 20 and key in ("loss", "grad_norm", "tokens_per_s", "mfu")
        axes.plot(
            steps, values, color="#9db8d9" if many else "#1f5fa8", linewidth=1, marker="" if many else "."
        )
        if many:
            axes.plot(steps, smoothed(values), color="#1f5fa8", linewidth=1.6)
        if logarithmic and min(values) > 0:
            axes.set_yscale("log")
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("step", fontsize=8)
        axes.grid(alpha=0.3)
    pictures = {}
    for kind, canvas in (("png", FigureCanvasAgg), ("svg", FigureCanvasSVG)):
        out = io.BytesIO()
        canvas(figure).print_figure(out, format=kind, dpi=120)
        pictures[kind] = out.getvalue()
    return pictures


_STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{border-bottom:1px solid #ddd;padding:.3rem .8rem;"
    "text-align:left;vertical-align:top}svg{max-width:100%;height:auto}pre{background:#f5f5f5;padding:1rem;"
    "overflow:auto}.bad{color:#a00}"
)


def _page(title: str, facts: Mapping[str, Any], events: list[Event], svg: str | None) -> str:
    """One file without anything from elsewhere."""
    rows = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in facts.items())
    parts = [f"<h1>{_text(title)}</h1><table>{rows}</table>"]
    if svg is not None:
        parts.append(svg[svg.index("<svg") :])
    refused = [event for event in events if event.get("refused")]
    if refused:
        items = "".join(f"<li>step {event['step']}: {_text(event['refused'])}</li>" for event in refused)
        parts.append(f'<h2 class="bad">Refused updates</h2><ul>{items}</ul>')
    samples = [event for event in events if event["kind"] == "sample"]
    if samples:
        body = "".join(
            f"<tr><td>{event['step']}</td><td>{_text(event['question'])}</td><td>{_text(event['expected'])}</td>"
            f"<td>{_text(event['answer'])}</td></tr>"
            for event in samples
        )
        parts.append(
            "<h2>Answers while it learnt</h2><table><tr><th>step</th><th>question</th><th>expected</th>"
            f"<th>answer</th></tr>{body}</table>"
        )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(title)}</title>'
        f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )


def _text(value: Any) -> str:
    return html.escape(str(value))


def _line(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode(errors="replace") + b"\n"


def _summary_writer(directory: Path, first_step: int) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        raise MissingDependencyError(
            "TensorBoard logs need the tensorboard package: pip install 'internvl[train]', "
            "or set run.tensorboard=false"
        )
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(directory), purge_step=first_step + 1 if first_step else None)
