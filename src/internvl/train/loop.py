"""The run around the steps: batches in, updates, measurements, checkpoints; stops and goes on exactly.

The loop knows no files of data and prints nothing: batches, validation, answers and whoever watches are given to it.
Everything random inside a step is drawn from (seed, step, rank), so that a resumed run draws what the other would have.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from internvl.config.model import ModelConfig
from internvl.errors import InternVLError
from internvl.train.checkpointing import Checkpoints, load_trained, trained_weights
from internvl.train.config import TrainConfig
from internvl.train.flops import Work
from internvl.train.freezing import train_mode
from internvl.train.objectives import Objective, TokenLoss
from internvl.train.optimizer import WeightAverage, load_optimizer, optimizer_tensors, set_rates
from internvl.train.parallel import Ranks, sum_over_ranks
from internvl.train.report import RunLog
from internvl.train.schedule import rate_factor
from internvl.train.step import StepResult, TrainStep, autocast


class TrainingError(InternVLError, RuntimeError):
    """A run that cannot go on: update after update refused."""


class BatchSource(Protocol):
    """Batches of this rank, one per forward pass, in an order that can be resumed."""

    def __next__(self) -> Any:
        """The next batch; StopIteration ends the run early."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Where it stands: behind the last batch that was given out."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        ...

    def load_states_of(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on where another number of ranks stood, all of whose states these are, and share out what is left."""
        ...


@dataclass(slots=True, kw_only=True)
class StepRecord:
    """One update, for whoever watches."""

    step: int
    steps: int
    result: StepResult
    learning_rate: float
    seconds: float
    tokens_per_s: float
    mfu: float | None
    eta_s: float

    def values(self) -> dict[str, float | int | str]:
        """What the log keeps of it."""
        result = self.result
        values: dict[str, float | int | str] = {
            "loss": result.loss,
            "grad_norm": result.grad_norm,
            "learning_rate": self.learning_rate,
            "valid_tokens": result.num_valid_tokens,
            "tokens": result.num_tokens,
            "tiles": result.num_tiles,
            "seconds": round(self.seconds, 4),
            "tokens_per_s": round(self.tokens_per_s, 1),
        }
        if self.mfu is not None:
            values["mfu"] = round(self.mfu, 4)
        if result.refused:
            values["refused"] = result.refused
        return values | {name: value for name, value in result.metrics.items() if name not in values}


@dataclass(slots=True, kw_only=True)
class Watchers:
    """What the loop calls on its way; the first rank's alone, but for `validation`."""

    on_step: Callable[[StepRecord], None] | None = None
    validation: Callable[[], Iterable[Any]] | None = None
    """Fresh batches to measure; what a rank has more than another is left out."""
    answers: Callable[[Any], list[dict[str, str]]] | None = None
    """(model) -> question, expected and answer of some rows."""
    on_event: Callable[[str, int, Mapping[str, Any]], None] | None = None
    """(kind, step, values) of everything logged beside steps."""
    wants_stop: Callable[[], bool] | None = None
    """Asked before every update, on all ranks; a run that stops is saved."""


@dataclass(slots=True, kw_only=True)
class RunSummary:
    """What a call of `run` did."""

    step: int
    """Updates in all, those of earlier calls included."""
    finished: bool
    """All steps are done, or the data has come to its end."""
    data_ended: bool
    seconds: float
    last_loss: float | None
    """None: nothing was left to train."""
    refused: int
    """Updates that were refused in this call."""
    validation_loss: float | None = None


@dataclass(slots=True, kw_only=True)
class Trainer:
    """One run; make it, `resume()`, `run()`."""

    config: TrainConfig
    losses: TokenLoss
    objective: Objective
    optimizer: torch.optim.Optimizer
    source: BatchSource
    log: RunLog
    checkpoints: Checkpoints
    where: Ranks = field(default_factory=Ranks)
    average: WeightAverage | None = None
    watchers: Watchers = field(default_factory=Watchers)
    work: Work | None = None
    """Together with `peak` it gives MFU."""
    peak: float = 0.0
    step: int = 0
    """Updates done."""
    data_ended: bool = False
    """No rank has another batch: the run is finished, however many steps it might have had."""

    @property
    def model_config(self) -> ModelConfig:
        """Of the model that is trained."""
        return self.losses.model.config

    def resume(self, step: int | None = None) -> bool:
        """Continue from a checkpoint of this run (default: the newest); False without one."""
        steps = self.checkpoints.steps()
        if not steps:
            return False
        step = steps[-1] if step is None else step
        shared, own = self.checkpoints.load(step, self._shared())
        where = str(self.checkpoints.path(step))
        load_trained(self.losses, shared["model"], where)
        load_optimizer(self.optimizer, shared["optimizer"])
        self.objective.load_state_dict(shared["objective"])
        if self.average is not None:
            self.average.load_state_dict(shared["average"])
        if isinstance(own, list):
            self.source.load_states_of([each["source"] for each in own])
        else:
            self.source.load_state_dict(own["source"])
        self.step = step
        return True

    def save(self) -> None:
        """Write a checkpoint of the present step."""
        facts = {"seed": self.config.seed, "notes": self.config.notes, "data_ended": self.data_ended}
        self.checkpoints.save(self.step, self._shared(), {"source": self.source.state_dict()}, facts)

    def run(self, clock_began: float | None = None) -> RunSummary:
        """Train to the end, or until the data or `run.max_minutes` are used up; saved in each case.

        `clock_began` (of `time.monotonic`) is when those minutes began; None: now.

        Raises:
            TrainingError: Too many updates in a row were refused.
        """
        run = self.config.run
        steps, accumulation = run.steps, run.accumulation(self.where.size)
        step_once = TrainStep(
            self.losses,
            self.objective,
            self.optimizer,
            clip_norm=self.config.optimizer.clip_norm,
            precision=run.precision,
            where=self.where,
        )
        began, first = time.monotonic(), self.step
        clock_began = began if clock_began is None else clock_began
        deadline = clock_began + 60 * run.max_minutes if run.max_minutes else math.inf
        refused = in_a_row = 0
        saved, last_loss, validation = self.step, None, None
        train_mode(self.losses.model)
        while self.step < steps:
            started = time.monotonic()
            stop = self.watchers.wants_stop
            if self._all(started > deadline or (stop is not None and stop())):
                break
            batches = self._next(accumulation)
            if not batches:
                self.data_ended = True
                break
            self._seed()
            rate = set_rates(self.optimizer, rate_factor(self.config.schedule, self.step, steps))
            result = step_once(batches)
            self.step += 1
            in_a_row = in_a_row + 1 if result.refused else 0
            refused += bool(result.refused)
            if self.average is not None and not result.refused:
                self.average.update()
            last_loss = result.loss
            self._record(result, rate, started, (time.monotonic() - began) / (self.step - first), batches)
            if in_a_row >= run.max_bad_steps:
                raise TrainingError(
                    f"{in_a_row} updates in a row were refused, the last, step {self.step}, because {result.refused}. "
                    f"The newest checkpoint is step {saved}; lower optimizer.learning_rate, or look at the rows"
                )
            if self.step == steps:
                break
            if self.step % run.save_every == 0:
                self.save()  # first: a row to measure on that cannot be used must not cost what was learnt
                saved = self.step
            if run.validate_every and self.step % run.validate_every == 0:
                validation = self._validate()
            if run.sample_every and self.step % run.sample_every == 0:
                self._answers()
        finished = self.step >= steps or self.data_ended
        if saved != self.step or self.data_ended:
            self.save()
        if finished:
            validation = self._validate()
            if run.sample_every:
                self._answers()
        return RunSummary(
            step=self.step,
            finished=finished,
            data_ended=self.data_ended,
            seconds=time.monotonic() - began,
            last_loss=last_loss,
            refused=refused,
            validation_loss=validation,
        )

    def _next(self, count: int) -> list[Any]:
        """The micro-batches of an update: fewer at the end of the data, as many on all ranks; none: it has ended."""
        batches: list[Any] = []
        while len(batches) < count:
            batch = next(self.source, None)
            if batch is None:
                break
            batches.append(batch)
        if self.where.size == 1 or not self._all(len(batches) < count):
            return batches
        reached = [self._all(len(batches) < n) for n in range(1, count + 1)]
        return batches[: reached.index(True)]

    def _all(self, stop: bool) -> bool:
        """Whether any rank wants to stop; then all do."""
        if self.where.size == 1:
            return stop
        return sum_over_ranks({"stop": torch.tensor(float(stop))}, self.where)["stop"] > 0

    def _seed(self) -> None:
        # ranks that compute one batch together draw alike
        mixed = (self.config.seed * 1_000_003 + self.step) * 65_537 + self.where.data_rank
        torch.manual_seed(mixed % 2**63)

    def _record(
        self, result: StepResult, rate: float, started: float, mean_s: float, batches: list[Any]
    ) -> None:
        seconds = time.monotonic() - started
        mfu = None
        if self.work is not None and self.peak:
            done = sum(self.work.batch(getattr(batch, "sequences", batch)) for batch in batches)
            mfu = done / seconds / (self.peak * self.where.size)
        record = StepRecord(
            step=self.step,
            steps=self.config.run.steps,
            result=result,
            learning_rate=rate,
            seconds=seconds,
            tokens_per_s=result.num_tokens / seconds,
            mfu=mfu,
            eta_s=mean_s * (self.config.run.steps - self.step),
        )
        if self.step % self.config.run.log_every == 0 or result.refused:
            self.log.write("step", self.step, record.values())
        if self.watchers.on_step is not None and self.where.is_first:
            self.watchers.on_step(record)

    @torch.no_grad()
    def _validate(self) -> float | None:
        """Loss on the validation rows with the averaged weights, if there are any."""
        if self.watchers.validation is None:
            return None
        totals: dict[str, torch.Tensor] = {}
        state = self.objective.state_dict()  # measuring must not move a running mean
        self.losses.eval()
        with self.average.applied() if self.average is not None else nullcontext():
            batches = iter(self.watchers.validation())
            for _ in range(self.config.run.validate_batches):
                batch = next(batches, None)
                if self._all(batch is None):  # ranks may hold one more than others
                    break
                assert batch is not None
                moved = batch.to(self.where.device)
                with autocast(self.config.run.precision, self.where.device):
                    sums = self.objective(self.losses, moved)
                counts = {f"/{name}": n.cpu() for name, n in self.objective.denominators(batch).items()}
                found = {name: term.double().cpu() for name, term in sums.terms.items()} | counts
                totals = {name: totals.get(name, torch.zeros(())) + value for name, value in found.items()}
        self.objective.load_state_dict(state)
        train_mode(self.losses.model)
        summed = sum_over_ranks(totals, self.where)
        means = {n: summed[n] / max(summed[f"/{n}"], 1e-12) for n in self.objective.weights if n in summed}
        if not means:
            return None
        loss = sum(self.objective.weights[name] * mean for name, mean in means.items())
        self._event("validation", {"loss": loss, **{n: v for n, v in means.items() if n != "loss"}})
        return loss

    def _answers(self) -> None:
        if self.watchers.answers is None or self.where.size > 1:
            return
        self.losses.eval()
        with self.average.applied() if self.average is not None else nullcontext():
            found = self.watchers.answers(self.losses.model)
        train_mode(self.losses.model)
        for answer in found:
            self._event("sample", answer)

    def _event(self, kind: str, values: Mapping[str, Any]) -> None:
        self.log.write(kind, self.step, values)
        if self.watchers.on_event is not None and self.where.is_first:
            self.watchers.on_event(kind, self.step, values)

    def _shared(self) -> dict[str, Any]:
        """The state that all ranks hold together."""
        shared: dict[str, Any] = {
            "model": trained_weights(self.losses),
            "optimizer": optimizer_tensors(self.optimizer),
            "objective": self.objective.state_dict(),
        }
        if self.average is not None:
            shared["average"] = self.average.state_dict()
        return shared
