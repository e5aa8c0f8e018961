"""Making samples of draws, here or in other processes; they come in the order of the draws either way."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from internvl.train.mixing import Draw
from internvl.train.samples import BadRow, Made, Maker

#: Samples that each process makes ahead.
_AHEAD = 4


def draw_samples(
    maker: Maker[Made], draws: Iterable[Draw], num_workers: int
) -> Iterator[tuple[Draw, Made | BadRow]]:
    """Yield each draw with what is made of it, in order; 0 workers: made here, when it is asked for."""
    if num_workers == 0:
        return ((draw, maker(draw)) for draw in draws)
    loader: DataLoader[Any] = DataLoader(
        _Rows(maker),
        sampler=draws,
        batch_size=None,
        num_workers=num_workers,
        prefetch_factor=_AHEAD,
        collate_fn=_as_it_is,
        # forked processes may hang: the caller has threads (torch, progress bar), maybe CUDA
        multiprocessing_context="spawn",
        worker_init_fn=_start,
        generator=torch.Generator(),  # or starting workers would use up chance of the model's
    )
    return ((draw, _received(sent)) for draw, sent in loader)


class _Rows(Dataset[Any]):
    def __init__(self, maker: Maker[Any]) -> None:
        self.maker = maker

    def __getitem__(self, draw: Draw) -> tuple[Draw, Any]:
        return draw, _sent(self.maker(draw))


def _sent(value: Any) -> Any:
    """Arrays instead of tensors: each tensor would keep a file open until its row is used."""
    if isinstance(value, Tensor):
        return value.numpy()
    if isinstance(value, Mapping):
        return {name: _sent(each) for name, each in value.items()}
    if is_dataclass(value):
        return type(value), {field.name: _sent(getattr(value, field.name)) for field in fields(value)}
    return value


def _received(sent: Any) -> Any:
    if isinstance(sent, np.ndarray):
        return torch.from_numpy(sent)
    if isinstance(sent, Mapping):
        return {name: _received(each) for name, each in sent.items()}
    if isinstance(sent, tuple):
        kind, values = sent
        return kind(**_received(values))
    return sent


def _as_it_is(item: Any) -> Any:
    return item


def _start(worker: int) -> None:
    torch.set_num_threads(1)
    # where cores are few, threads that compute together wait for the one that was put aside for this
    os.nice(10)
    # Ctrl-C and what else is sent to a group of processes is for the training process, which ends its update first
    os.setpgid(0, 0)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent has gone: killed, that one cannot say so, and a full pipe would hold it here."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
