"""A name that a user types -> the local directory that holds the checkpoint.

A directory is returned as it is; ``"nano"`` is the bundled model; ``ORG/NAME`` is fetched from the Hugging
Face hub (or a mirror of it) into huggingface_hub's own cache, so that other tools find the same files. Called
by `load.py`, `convert.py` and the commands.

Only the files that we read are fetched: configuration, tokenizer and safetensors. Python files and pickles
never reach the disk, because nothing that was downloaded is ever run.
"""

from __future__ import annotations

import logging
import os
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from internvl.errors import CheckpointError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

#: Name of the model that the package ships.
BUNDLED = "nano"

#: What is fetched from a hub repository; a name with a slash in it (a sub-folder) never is.
FETCHED = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "adapter_config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.json",
    "chat_template.jinja",
)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILE_SUFFIX = re.compile(r"\.(safetensors|json|bin|pth?|gguf|zip|tar|gz)$", re.IGNORECASE)


def resolve(
    path_or_id: str | Path,
    *,
    revision: str | None = None,
    offline: bool = False,
    endpoint: str | None = None,
    cache_dir: str | Path | None = None,
    config_name: str = "config.json",
) -> Path:
    """Return the directory of a checkpoint, fetching it first when it is a hub id.

    A broken download goes on where it stopped, in the same run and in the next one. When the hub cannot be
    reached, a complete copy in the cache is used, with a warning.

    Args:
        path_or_id: a directory, ``"nano"``, or a hub id such as ``"OpenGVLab/InternVL3-1B"``.
        revision: branch, tag or commit of a hub id; None is the main branch.
        offline: never ask the network (also: environment variable ``HF_HUB_OFFLINE=1``).
        endpoint: address of a hub mirror (also: environment variable ``HF_ENDPOINT``).
        cache_dir: where fetched files live; None is huggingface_hub's own cache (``HF_HUB_CACHE``).
        config_name: the file that makes a directory what is looked for; of an adapter ``adapter_config.json``.

    Raises:
        CheckpointError: no such directory or id, no access, no network and nothing cached, or no safetensors.
    """
    if isinstance(path_or_id, Path):
        return _local_directory(path_or_id, config_name)
    name = path_or_id.strip()
    if name == BUNDLED:
        return _bundled()
    path = Path(name).expanduser()
    if name and (path.exists() or _looks_like_path(name)):
        return _local_directory(path, config_name)
    if not _HUB_ID.fullmatch(name) or ".." in name or "--" in name:
        hint = (
            f" Did you mean the hub id 'OpenGVLab/{name}'?"
            if name.lower().startswith(("internvl", "mini-"))
            else ""
        )
        raise CheckpointError(
            f"no model {name!r}: neither a directory here nor a hub id (ORG/NAME) nor {BUNDLED!r}.{hint}"
        )
    endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    return _from_hub(
        name,
        revision=revision or "main",
        offline=offline or _offline_by_environment(),
        endpoint=endpoint,
        cache_dir=Path(cache_dir) if cache_dir is not None else None,
        config_name=config_name,
    )


def _offline_by_environment() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _looks_like_path(name: str) -> bool:
    """Whether a string that names nothing on disk was still meant as a path, so that the hub is not asked."""
    first, _, rest = name.partition("/")
    return (
        name.startswith(("/", ".", "~"))
        or "\\" in name
        or name.count("/") > 1
        or name.endswith("/")
        or _FILE_SUFFIX.search(name) is not None
        or (bool(rest) and Path(first).is_dir())
    )


def _local_directory(path: Path, config_name: str) -> Path:
    path = path.expanduser()
    if path.is_file():
        raise CheckpointError(
            f"{path} is a file; give the directory that holds {config_name} and the weights"
        )
    if not path.is_dir():
        raise CheckpointError(
            f"no directory {path}; give a checkpoint directory, a hub id (ORG/NAME) or {BUNDLED!r}"
        )
    if not (path / config_name).is_file():
        expected = (
            "a checkpoint directory (config.json, *.safetensors, tokenizer files)"
            if config_name == "config.json"
            else f"a directory with {config_name} and *.safetensors"
        )
        raise CheckpointError(f"{path} holds no {config_name}; expected {expected}")
    return path


def _bundled() -> Path:
    directory = resources.files("internvl") / "assets" / BUNDLED
    if not isinstance(directory, Path) or not (directory / "config.json").is_file():
        raise CheckpointError(
            f"the bundled model {BUNDLED!r} is missing from this installation ({directory}); "
            "reinstall the package, or name another model"
        )
    return directory


def _from_hub(
    name: str, *, revision: str, offline: bool, endpoint: str, cache_dir: Path | None, config_name: str
) -> Path:
    # Imported here: half a second that `import internvl` and local directories must not pay.
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

    from internvl.checkpoint.download import fetch_snapshot

    if offline:
        return _cached(name, revision, cache_dir, config_name, reason="the network is not asked (offline)")
    api = HfApi(endpoint=endpoint)
    try:
        commit, files = _list_files(api, name, revision)
        _require_safetensors(name, files)
        directory = fetch_snapshot(
            api, name, revision=revision, commit=commit, files=files, patterns=FETCHED, cache_dir=cache_dir
        )
    except CheckpointError:
        raise
    except OfflineModeIsEnabled:
        return _cached(name, revision, cache_dir, config_name, reason="the network is not asked (offline)")
    except (HTTPError, OSError) as error:
        refusal = _refusal(error, name, revision, endpoint)
        if refusal is not None:
            raise CheckpointError(refusal) from error
        reason = f"{endpoint} did not answer ({_first_line(error)})"
        directory = _cached(name, revision, cache_dir, config_name, reason=reason)
        logger.warning("%s; using the cached copy of %s", reason, name)
    return _checked_snapshot(name, directory, config_name)


def _list_files(api: HfApi, name: str, revision: str) -> tuple[str, list[str]]:
    """Commit and file names of a repository at a revision."""
    info = api.model_info(name, revision=revision)
    if info.siblings:
        names = [sibling.rfilename for sibling in info.siblings]
    else:
        names = [entry.path for entry in api.list_repo_tree(name, revision=revision, recursive=True)]
    return str(info.sha), names


def _require_safetensors(name: str, files: list[str]) -> None:
    top = [file for file in files if "/" not in file]
    if any(file.endswith(".safetensors") for file in top):
        return
    pickles = [file for file in top if file.endswith(_PICKLES)]
    if pickles:
        raise CheckpointError(
            f"{name} has its weights only as pickle ({pickles[0]}, {len(pickles)} such file(s)), which can "
            "run code when opened and is refused. Use a revision or a twin repository with *.safetensors"
        )
    raise CheckpointError(
        f"{name} holds no *.safetensors; it has {len(files)} file(s): {', '.join(files[:8]) or 'none'}"
    )


def _cached(name: str, revision: str, cache_dir: Path | None, config_name: str, *, reason: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    from internvl.checkpoint.download import IGNORED

    try:
        directory = Path(
            snapshot_download(
                name,
                revision=revision,
                cache_dir=cache_dir,
                local_files_only=True,
                allow_patterns=list(FETCHED),
                ignore_patterns=list(IGNORED),
            )
        )
    except LocalEntryNotFoundError as error:
        partly = getattr(error, "snapshot_path", None) is not None
        raise CheckpointError(
            f"{name} (revision {revision!r}) is {'only partly' if partly else 'not'} in the local cache, and "
            f"{reason}. Run once with a connection, name a mirror (endpoint=..., HF_ENDPOINT), or give a "
            "local directory"
        ) from error
    return _checked_snapshot(name, directory, config_name)


def _checked_snapshot(name: str, directory: Path, config_name: str) -> Path:
    if not (directory / config_name).is_file():
        kind = "a chat checkpoint" if config_name == "config.json" else "an adapter"
        raise CheckpointError(
            f"{name} holds no {config_name} ({directory}); it is not {kind} that can be loaded"
        )
    return directory


def _refusal(error: Exception, name: str, revision: str, endpoint: str) -> str | None:
    """What to tell the user when the hub answered no; None when it did not answer at all."""
    from huggingface_hub.errors import (
        DisabledRepoError,
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return (
            f"{name} is gated: accept its conditions at {endpoint}/{name}, then set HF_TOKEN (or run "
            "`hf auth login`) with an account that has access"
        )
    if isinstance(error, RevisionNotFoundError):
        return (
            f"{name} has no revision {revision!r}; name one of its branches, tags or commits "
            f"({endpoint}/{name}/tree/main)"
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{endpoint} knows no model {name!r}, or it is private. Check the spelling (`internvl models` "
            "lists the released ones); for a private one set HF_TOKEN"
        )
    if isinstance(error, DisabledRepoError):
        return f"{name} was disabled on {endpoint}; use another checkpoint"
    if (
        isinstance(error, HfHubHTTPError)
        and (status := _status(error))
        and 400 <= status < 500
        and status != 429
    ):
        return (
            f"{endpoint} refused {name} (HTTP {status}): {_first_line(error)}. "
            "Check HF_TOKEN and the mirror's address"
        )
    return None


def _status(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    return int(status) if status is not None else None


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
