"""Checkpoints of a run: complete or not there, resumed at the step they were taken, the newest kept.

`<output>/checkpoints/step-00000123/` holds `rank-<r>/` with what each process alone knows (its place in the data) and
the shared state: trained weights, optimizer, objective, weight average. One process writes JSON and safetensors
(`state_files`); several write torch's distributed checkpoints. Either is read by any number of processes. Frozen
weights are not written: they come from where the run started.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from internvl.errors import CheckpointError
from internvl.train.parallel import Ranks
from internvl.train.state_files import load_tree, save_tree

_STEP = re.compile(r"step-(\d{8})")
_META = "checkpoint.json"


@dataclass(slots=True)
class Checkpoints:
    """The checkpoints of one run."""

    directory: Path
    keep: int = 3
    """The newest ones that stay; 0: all."""
    max_piece_bytes: int = 2**30
    where: Ranks = Ranks()

    def steps(self) -> list[int]:
        """Steps that can be resumed from, in order; a directory that was not finished is none."""
        if not self.directory.is_dir():
            return []
        found = [_STEP.fullmatch(path.name) for path in self.directory.iterdir() if (path / _META).is_file()]
        return sorted(int(match[1]) for match in found if match)

    def path(self, step: int) -> Path:
        """The directory of a step."""
        return self.directory / f"step-{step:08d}"

    def facts(self, step: int) -> dict[str, Any]:
        """What a checkpoint says of itself: its step, how many ranks wrote it, and the facts it was saved with."""
        found: dict[str, Any] = json.loads((self.path(step) / _META).read_text(encoding="utf-8"))
        return found

    def save(
        self, step: int, shared: Mapping[str, Any], own: Mapping[str, Any], facts: Mapping[str, Any]
    ) -> Path:
        """Write the state after `step` updates; all ranks call it together.

        `shared`: tensors of the model and the optimizer (each rank gives its share) and plain values. `own`: this
        rank's state. `facts`: JSON that may be looked at. The name appears only when everything is on disk.
        """
        target = self.path(step)
        partial = self.directory / f".partial-{target.name}"
        if self.where.is_first:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        self._wait()
        save_tree(own, partial / f"rank-{self.where.rank:05d}", max_piece_bytes=self.max_piece_bytes)
        if self.where.size == 1:
            save_tree(shared, partial / "shared", max_piece_bytes=self.max_piece_bytes)
        else:
            _save_distributed(shared, partial / "shared")
        self._wait()
        if self.where.is_first:
            meta = {"step": step, "num_ranks": self.where.size, **facts}
            with (partial / _META).open("w", encoding="utf-8") as file:
                json.dump(meta, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            shutil.rmtree(target, ignore_errors=True)
            os.replace(partial, target)
            self._forget_old()
        self._wait()
        return target

    def load(
        self, step: int, shared: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any] | list[Mapping[str, Any]]]:
        """Return (shared state, this rank's own) of a step.

        `shared` is the present state, of the same form: distributed checkpoints are read into it, whole ones are
        shared out as it is. Where another number of ranks wrote them, nobody goes on where one of them was: own
        is then the list of all their states.

        Raises:
            CheckpointError: The files are damaged.
        """
        path = self.path(step)
        meta = self.facts(step)
        own: Mapping[str, Any] | list[Mapping[str, Any]]
        if meta["num_ranks"] == self.where.size:
            own = load_tree(path / f"rank-{self.where.rank:05d}")
        else:
            own = [load_tree(path / f"rank-{rank:05d}") for rank in range(meta["num_ranks"])]
        if (path / "shared" / ".metadata").exists():
            return _load_distributed(shared, path / "shared"), own
        return _shared_out(load_tree(path / "shared"), shared), own

    def _forget_old(self) -> None:
        for step in self.steps()[: -self.keep] if self.keep else ():
            old = self.path(step)
            doomed = old.with_name(f".old-{old.name}")
            os.replace(old, doomed)  # first the name, so that a half deleted one is no checkpoint
            shutil.rmtree(doomed, ignore_errors=True)

    def _wait(self) -> None:
        if self.where.size > 1:
            dist.barrier()


def trained_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Name -> parameter, of what is trained; each once."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def load_trained(model: nn.Module, weights: Mapping[str, torch.Tensor], where: str) -> None:
    """Put stored weights back.

    Raises:
        CheckpointError: What is trained now is not what was trained then.
    """
    ours = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if ours.keys() != weights.keys():
        missing, unknown = sorted(ours.keys() - weights.keys()), sorted(weights.keys() - ours.keys())
        raise CheckpointError(
            f"{where} was written by another recipe: it lacks {missing[:3] or 'nothing'}, and holds "
            f"{unknown[:3] or 'nothing'} that this one does not train. Choose another output directory, or the recipe "
            "that it was written with"
        )
    for name, parameter in ours.items():
        if parameter.shape != weights[name].shape:
            raise CheckpointError(
                f"{where}: {name} is {tuple(weights[name].shape)}, the model's {tuple(parameter.shape)}"
            )
        parameter.copy_(weights[name])  # onto itself where a distributed checkpoint was read in place


def _save_distributed(state: Mapping[str, Any], path: Path) -> None:
    import torch.distributed.checkpoint as dcp

    dcp.save(dict(state), checkpoint_id=str(path))


def _shared_out(whole: Any, like: Any) -> Any:
    """Return a tree of whole tensors in which those that are shared out in `like` are so, too."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(like, Mapping):
        return {key: _shared_out(value, like[key]) if key in like else value for key, value in whole.items()}
    if isinstance(like, DTensor):
        # every rank has read the file: nothing is sent
        whole = whole.to(like.device, like.dtype)
        return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)
    return whole


def _load_distributed(state: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """Tensors are read in place, whatever number of ranks wrote them."""
    import torch.distributed.checkpoint as dcp

    loaded = dict(state)
    dcp.load(loaded, checkpoint_id=str(path))
    return loaded
