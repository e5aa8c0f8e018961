"""Where the demo keeps the pictures of its conversations: original bytes for the model, a copy for the eye.

An uploaded file is checked and decoded once, within the limits of `media.limits`, and then known by the hash of
its bytes. What browsers get back is never what somebody uploaded but a picture that we encoded. The directory belongs
to one process, is bounded and goes with it; a conversation that outlives its pictures says so.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from internvl.errors import MediaError, RequestError
from internvl.media.formats import sniff
from internvl.media.image import decode_image
from internvl.media.limits import DEFAULT_LIMITS, MediaLimits
from internvl.media.source import Blob, short_name

#: Longer side of the copies that are shown, pixels.
SHOWN_SIDE = 1280
MAX_BYTES = 2 << 30

_ID = re.compile(r"[0-9a-f]{64}")


def is_picture_id(value: Any) -> bool:
    """Whether something has the form of a picture's id; then it is safe as a file name."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


class PictureStore:
    """Pictures by id, on disk. Any thread may call it."""

    def __init__(self, *, limits: MediaLimits = DEFAULT_LIMITS, max_bytes: int = MAX_BYTES) -> None:
        """`max_bytes`: of all files together; beyond it, pictures that were not asked for longest go."""
        self.limits = limits
        self._max_bytes = max_bytes
        self._root = Path(tempfile.mkdtemp(prefix="internvl-demo-"))
        self._originals = self._root / "originals"
        self.uploads_dir = self._root / "uploads"
        """Where the web server puts what browsers send, before anybody has looked at it."""
        self.shown_dir = self._root / "shown"
        """What browsers may read."""
        for directory in (self._originals, self.uploads_dir, self.shown_dir):
            directory.mkdir()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, path: str | os.PathLike[str]) -> str:
        """Take in an uploaded file and return its id.

        Raises MediaError: It is no picture, damaged, or larger than the limits; or no upload at all.
        """
        path = Path(path).resolve()
        if not path.is_relative_to(self.uploads_dir.resolve()):
            raise MediaError(f"{short_name(path.name)} was not uploaded here. Add the picture again.")
        data = _read(path, self.limits)
        picture_id = hashlib.sha256(data).hexdigest()
        if self._touch(picture_id):
            return picture_id
        image = decode_image(Blob(data, short_name(path.name)), limits=self.limits)
        shown = self._shown_path(picture_id)
        save_shown(image, shown)
        original = self._originals / picture_id
        original.write_bytes(data)
        with self._lock:
            self._sizes[picture_id] = len(data) + shown.stat().st_size
            self._make_room()
        return picture_id

    def open(self, picture_id: str) -> Image.Image:
        """Return a picture in RGB, upright. Raises RequestError where it is gone."""
        return decode_image(Blob(self.read(picture_id), "picture"), limits=self.limits)

    def read(self, picture_id: str) -> bytes:
        """Return the uploaded bytes. Raises RequestError where they are gone."""
        if self._touch(picture_id):
            try:
                return (self._originals / picture_id).read_bytes()
            except FileNotFoundError:  # another thread made room in this moment
                pass
        raise RequestError(
            "a picture of this conversation is no longer on the server; start a new one and add the picture again"
        )

    def extension(self, picture_id: str) -> str:
        """Return how a file of this picture is named at its end: "png", "jpeg", ...; "png" where it is gone."""
        try:
            return sniff(Blob(self.read(picture_id), "picture")).name.lower()
        except RequestError:
            return "png"

    def shown(self, picture_id: str) -> Path | None:
        """Return the file that shows a picture, or None where it is gone."""
        return self._shown_path(picture_id) if self._touch(picture_id) else None

    def derived(self, name: str, make: Callable[[], Image.Image]) -> Path:
        """Return the file that shows what was made of pictures, e.g. with boxes drawn over one.

        Args:
            name: Says all that the result depends on; equal names share a file.
            make: Called where there is no such file yet.
        """
        key = hashlib.sha256(name.encode()).hexdigest()
        path = self._shown_path(key)
        if not self._touch(key):
            save_shown(make(), path)
            with self._lock:
                self._sizes[key] = path.stat().st_size
                self._make_room()
        return path

    def close(self) -> None:
        """Remove all pictures."""
        shutil.rmtree(self._root, ignore_errors=True)

    def _shown_path(self, picture_id: str) -> Path:
        return self.shown_dir / f"{picture_id}.webp"

    def _touch(self, picture_id: str) -> bool:
        """Whether a picture is here; it then counts as the latest one asked for."""
        with self._lock:
            if picture_id not in self._sizes:
                return False
            self._sizes.move_to_end(picture_id)
            return True

    def _make_room(self) -> None:
        while len(self._sizes) > 1 and sum(self._sizes.values()) > self._max_bytes:
            oldest, _ = self._sizes.popitem(last=False)
            (self._originals / oldest).unlink(missing_ok=True)
            self._shown_path(oldest).unlink(missing_ok=True)


def save_shown(image: Image.Image, path: Path, side: int = SHOWN_SIDE) -> None:
    """Write a picture for the eye: at most `side` pixels a side, small ones without loss."""
    image = image.copy()
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    small = image.width * image.height <= 512 * 512
    # WebP ends at 16383 pixels a side, far above `side`
    image.save(path, "WEBP", lossless=small, quality=90, method=2)


def _read(path: Path, limits: MediaLimits) -> bytes:
    """Read an uploaded file, at most as much as a picture may have."""
    name = short_name(path.name)
    try:
        with path.open("rb") as file:
            data = file.read(limits.max_bytes + 1)
    except OSError as error:
        raise MediaError(
            f"{name}: the upload cannot be read: {error.strerror}. Add the picture again."
        ) from error
    if len(data) > limits.max_bytes:
        raise MediaError(
            f"{name} has more than {limits.max_bytes / 1e6:.0f} MB: that is the limit (MediaLimits.max_bytes)."
            " Send a smaller picture."
        )
    if not data:
        raise MediaError(f"{name} is empty (0 bytes): expected a picture")
    return data
