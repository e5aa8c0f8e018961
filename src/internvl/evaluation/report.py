"""One self-contained page: the table of figures, then every set with its figures, failures and successes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from internvl.evaluation.aims import Aim
from internvl.evaluation.figures import Figure
from internvl.evaluation.gallery import make_cards
from internvl.evaluation.item import EvalSet
from internvl.evaluation.results import Results, SetResults


def write_report(path: Path, results: Results, sets: Sequence[EvalSet]) -> None:
    """Write the page. Pictures of what is shown are made anew, or read from their files."""
    sources = {source.name: source for source in sets}
    questions = sum(len(each.rows) for each in results.sets)
    samples = sum(len({row["sample"] for row in each.rows}) for each in results.sets)
    lead = f"{questions} questions about {samples} pictures, pairs and clips, answered greedily. Intervals: 95 %."
    links = "".join(f'<a href="#{escape(each.name)}">{escape(each.name)}</a>' for each in results.sets)
    body = [_aims(results), f"<nav>{links}</nav>", *(_set(each, sources[each.name]) for each in results.sets)]
    page = files("internvl.evaluation").joinpath("report.html").read_text(encoding="utf8")
    page = page.replace("{{title}}", escape(f"{results.model}: evaluation")).replace("{{lead}}", lead)
    path.write_text(page.replace("{{body}}", "\n".join(body)), encoding="utf8")


def percent(value: float) -> str:
    """Return 12.3 %, with two decimals where one would hide what matters."""
    return f"{value:.2%}" if value < 0.1 else f"{value:.1%}"


def _aims(results: Results) -> str:
    if not results.table:
        return ""
    theirs = any(named.beside for named in results.table)
    rows = []
    for named in results.table:
        figure, aim = named.figure, named.aim
        beside = (
            (f"<td>{percent(named.beside.value)}</td>" if named.beside else "<td></td>") if theirs else ""
        )
        limits = "".join(f"<td>{_limit(limit, aim)}</td>" for limit in (aim.floor, aim.aim))
        rows.append(_figure_row(figure, _verdict(figure, aim), beside + limits))
    if results.false_absent:
        empty = "<td></td>" * (3 if theirs else 2)
        rows.append(_figure_row(results.false_absent, "", empty))
    head = f"{'<th>Tesseract</th>' if theirs else ''}<th>floor</th><th>aim</th>"
    return f"<table>{_head('skill', head)}{''.join(rows)}</table>"


def _limit(limit: float | None, aim: Aim) -> str:
    return "" if limit is None else f"{'≤' if aim.lower_is_better else '≥'} {limit:.0%}"


def _verdict(figure: Figure, aim: Aim) -> str:
    def reaches(limit: float | None) -> bool:
        return limit is not None and (figure.value <= limit if aim.lower_is_better else figure.value >= limit)

    return "good" if reaches(aim.aim) else "mid" if reaches(aim.floor) else "bad"


def _head(first: str, more: str = "") -> str:
    return f"<tr><th>{first}</th><th></th><th>value</th><th>interval</th><th>questions</th>{more}</tr>"


def _figure_row(figure: Figure, kind: str = "", more: str = "", name: str | None = None) -> str:
    low, value, high = (min(1.0, x) * 100 for x in (figure.low, figure.value, figure.high))
    scale = (
        f'<span class="scale"><i style="width:{value:.1f}%"></i>'
        f'<u style="left:{low:.1f}%;width:{max(0.5, high - low):.1f}%"></u></span>'
    )
    return (
        f'<tr class="{kind}"><td>{escape(figure.name if name is None else name)}</td><td>{scale}</td>'
        f"<td><b>{percent(figure.value)}</b></td>"
        f'<td class="interval">[{percent(figure.low)}, {percent(figure.high)}]</td>'
        f'<td class="number">{figure.questions}</td>{more}</tr>'
    )


def _set(each: SetResults, source: EvalSet) -> str:
    parts = [f'<h2 id="{escape(each.name)}">{escape(each.name)}</h2>', f'<p class="note">{_notes(each)}</p>']
    figures = [_figure_row(figure) for figure in each.figures]
    if figures:
        parts.append(f"<table>{_head('all questions')}{''.join(figures)}</table>")
    if each.beside:
        theirs = {figure.name: figure for figure in each.beside}
        same = [_figure_row(figure, more=_beside(theirs.get(figure.name))) for figure in each.same]
        head = _head("questions for all the text", "<th>Tesseract</th><th>interval</th>")
        parts.append(f"<table>{head}{''.join(same)}</table>")
    if len(each.tasks) > 1:
        parts.append("<h3>by task</h3>" + _groups(each.tasks.items()))
    for fact, groups in each.parts.items():
        parts.append(f"<details><summary>by {escape(fact)}</summary>{_groups(groups.items())}</details>")
    if each.rows:
        beside = {row["id"]: row for row in each.beside_rows}
        parts += ["<h3>failures and successes</h3>", make_cards(source, each.rows, beside)]
    return "".join(parts)


def _beside(figure: Figure | None) -> str:
    if figure is None:
        return "<td></td><td></td>"
    interval = f"[{percent(figure.low)}, {percent(figure.high)}]"
    return f'<td>{percent(figure.value)}</td><td class="interval">{interval}</td>'


def _groups(groups: Iterable[tuple[str, Sequence[Figure]]]) -> str:
    """One line for each group: what tells most about it, an error rate if there is one."""
    rows = []
    for name, figures in groups:
        main = next((figure for figure in figures if figure.name == "CER"), figures[0])
        label = name if main.name == "score" else f"{name}: {main.name}"
        rows.append(_figure_row(main, name=label))
    return f"<table>{_head('')}{''.join(rows)}</table>"


def _notes(each: SetResults) -> str:
    ends = ", ".join(
        f"{number} by {reason}" for reason, number in each.finish_reasons.items() if reason != "stop"
    )
    notes = [f"{each.seconds:.2f} s an answer beside others" if each.rows else "no answers"]
    if ends:
        notes.append(f"ended otherwise than by themselves: {ends}")
    notes += [f"{number} questions skipped: {escape(reason)}" for reason, number in each.skipped.items()]
    return "; ".join(notes)
