"""The table of metrics, and `judge`: (metric, answer, truth) -> verdict.

The names are those of shared/data and of `data.sample.Turn`. To add one: a function of the form `verdict.Metric`, a
line here, its law in tests/unit/evaluation/test_metrics.py.
"""

from __future__ import annotations

import re
from difflib import get_close_matches

from internvl.errors import ConfigError
from internvl.evaluation import text_metrics as text
from internvl.evaluation.box_metrics import iou_at_half
from internvl.evaluation.chart_table_metric import rms_f1
from internvl.evaluation.json_metric import json_kv_f1
from internvl.evaluation.table_metrics import teds
from internvl.evaluation.verdict import Metric, Truth, Verdict

METRICS: dict[str, Metric] = {
    "exact": text.exact,
    "exact_ci": text.exact_ci,
    "exact_norm": text.exact_norm,
    "contains": text.contains,
    "contains_any": text.contains_any,
    "contains_all": text.contains_all,
    "yesno": text.yesno,
    "exact_number": text.exact_number,
    "relaxed": text.relaxed_accuracy,
    "choice": text.choice,
    "choice_letter": text.choice_letter,
    "anls": text.anls,
    "anls_or_number": text.anls_or_number,
    "cer": text.cer,
    "cer_ci": text.cer_ci,
    "ned": text.ned,
    "word_recall": text.word_recall,
    "any_of_names": text.any_of_names,
    "absent": text.absent,
    "iou@0.5": iou_at_half,
    "teds": teds,
    "rms_f1": rms_f1,
    "json_kv_f1": json_kv_f1,
    "output_contains_fuzzy": text.output_contains_fuzzy,
    "output_order": text.output_order,
}
"""And number_tolN, N being percent: see `find_metric`."""

READING = ("cer", "cer_ci", "ned", "word_recall")
"""Metrics of answers that are the text in the picture."""
LONG = (*READING, "teds", "rms_f1", "json_kv_f1", "output_contains_fuzzy", "output_order")
"""Metrics of answers that may fill a page."""


def find_metric(name: str) -> Metric:
    """Return a metric by name.

    Raises:
        ConfigError: There is none; the message has the nearest one.
    """
    if name in METRICS:
        return METRICS[name]
    tolerance = re.fullmatch(r"number_tol(\d+(?:\.\d+)?)", name)
    if tolerance:
        return text.number_within(float(tolerance[1]))
    near = get_close_matches(name, METRICS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"there is no metric {name!r}; {hint}Known: {', '.join(METRICS)}, number_tolN")


def judge(metric: str, answer: str, truth: Truth) -> Verdict:
    """Say how good an answer is.

    >>> judge("cer", "SHOP", Truth(text="STOP")).score
    0.75
    """
    return find_metric(metric)(answer.strip(), truth)
