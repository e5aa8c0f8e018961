"""Learning rates over a run, as a share of the full rate: a pure function of the step."""

from __future__ import annotations

import math

from internvl.train.config import ScheduleSection


def warmup_steps(config: ScheduleSection, steps: int) -> int:
    """Updates over which the rate rises from near 0."""
    if config.warmup_steps is not None:
        return config.warmup_steps
    return math.ceil(config.warmup_ratio * steps)


def rate_factor(config: ScheduleSection, step: int, steps: int) -> float:
    """The share of the full learning rate at update `step` (from 0) of `steps`.

    Warm-up is linear and reaches the full rate with its last update. cosine and linear then fall to `floor` at the
    end of the run, wsd stays and falls linearly over the last `decay_ratio` of it, constant stays.
    """
    warm = warmup_steps(config, steps)
    if step < warm:
        return (step + 1) / warm
    if config.kind == "constant":
        return 1.0
    if config.kind == "wsd":
        begin = max(warm, steps - math.ceil(config.decay_ratio * steps))
    else:
        begin = warm
    if step < begin:
        return 1.0
    progress = min(1.0, (step - begin) / max(1, steps - begin))
    fallen = 0.5 * (1 - math.cos(math.pi * progress)) if config.kind == "cosine" else progress
    return 1.0 - (1.0 - config.floor) * fallen
