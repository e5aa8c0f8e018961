"""Where the demo keeps the pictures and videos of its conversations: the file for the model, a copy for the eye.

An uploaded file is checked and decoded once, within the limits of `media.limits`, and then known by the hash of
its bytes. What browsers get back is never what somebody uploaded but a picture that we encoded, of a video a sheet of
its sampled frames. The directory belongs to one process, is bounded and goes with it; a conversation that outlives its
pictures says so. Where it makes no difference, "picture" means videos too.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from internvl.errors import MediaError, RequestError
from internvl.media.formats import sniff
from internvl.media.image import decode_image
from internvl.media.kind import media_kind
from internvl.media.limits import DEFAULT_LIMITS, MediaLimits
from internvl.media.source import Blob, short_name
from internvl.media.video import Video, load_video
from internvl.media.video_formats import HEAD_BYTES, find_container

#: Longer side of the copies that are shown, pixels.
SHOWN_SIDE = 1280
MAX_BYTES = 4 << 30
#: Until then a question about an upload must be asked.
MAX_UPLOAD_AGE_S = 3600.0
_GONE = "a picture of this conversation is no longer on the server; start a new one and add the picture again"

#: A sheet of frames: as many side by side, each so wide.
_SHEET_COLUMNS, _SHEET_WIDTH = 4, 300

#: A hash; of a video with a letter behind it.
_ID = re.compile(r"[0-9a-f]{64}v?")
_EXTENSIONS = {"MP4": "mp4", "Matroska/WebM": "webm", "GIF": "gif", "AVI": "avi", "animated PNG": "png"}


def is_picture_id(value: Any) -> bool:
    """Whether something has the form of a picture's id; then it is safe as a file name."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def is_video_id(picture_id: str) -> bool:
    """Whether an id is a video's."""
    return picture_id.endswith("v")


class PictureStore:
    """Pictures by id, on disk. Any thread may call it."""

    def __init__(self, *, limits: MediaLimits = DEFAULT_LIMITS, max_bytes: int = MAX_BYTES) -> None:
        """`max_bytes`: of all pictures together; beyond it, those go that were not asked for longest. As much again
        may lie in uploads."""
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
        if media_kind(path) == "video":
            return self._add_video(path)
        data = _read(path, self.limits)
        picture_id = hashlib.sha256(data).hexdigest()
        if not self._touch(picture_id):
            save_shown(
                decode_image(Blob(data, short_name(path.name)), limits=self.limits),
                self._shown_path(picture_id),
            )
            (self._originals / picture_id).write_bytes(data)
            self._keep(picture_id)
        return picture_id

    def _add_video(self, path: Path) -> str:
        with path.open("rb") as file:
            picture_id = hashlib.file_digest(file, "sha256").hexdigest() + "v"
        if not self._touch(picture_id):
            save_shown(_sheet(load_video(path, limits=self.limits)), self._shown_path(picture_id))
            shutil.copyfile(path, self._originals / picture_id)
            self._keep(picture_id)
        return picture_id

    def has_room_for_uploads(self) -> bool:
        """Remove uploads and exports that have lain for an hour; return whether the rest leaves room for more."""
        total = 0
        for folder, _, names in os.walk(self.uploads_dir, topdown=False):
            for name in names:
                path = Path(folder, name)
                with contextlib.suppress(FileNotFoundError):  # another thread was faster
                    status = path.lstat()
                    # a copy keeps the time of its original's last change, but not this one
                    if time.time() - status.st_ctime > MAX_UPLOAD_AGE_S:
                        path.unlink()
                    else:
                        total += status.st_size
            if Path(folder) != self.uploads_dir:
                with contextlib.suppress(OSError):  # not empty
                    Path(folder).rmdir()
        return total <= self._max_bytes

    def open(self, picture_id: str) -> Image.Image | Video:
        """Return a picture in RGB, upright, or a video. Raises RequestError where it is gone."""
        if is_video_id(picture_id):
            return load_video(self._original(picture_id), limits=self.limits)
        return decode_image(Blob(self.read(picture_id), "picture"), limits=self.limits)

    def read(self, picture_id: str) -> bytes:
        """Return the uploaded bytes. Raises RequestError where they are gone."""
        try:
            return self._original(picture_id).read_bytes()
        except FileNotFoundError:  # another thread made room in this moment
            raise RequestError(_GONE) from None

    def _original(self, picture_id: str) -> Path:
        path = self._originals / picture_id
        if not self._touch(picture_id) or not path.exists():
            raise RequestError(_GONE)
        return path

    def file_name(self, picture_id: str, number: int) -> str:
        """Return what to call a picture's file: "picture-1.png", "video-2.mp4"."""
        kind, ending = ("video", "mp4") if is_video_id(picture_id) else ("picture", "png")
        try:
            with self._original(picture_id).open("rb") as file:
                head = file.read(HEAD_BYTES)
        except (RequestError, FileNotFoundError):
            return f"{kind}-{number}.{ending}"
        if kind == "picture":
            return f"picture-{number}.{sniff(Blob(head, kind)).name.lower()}"
        container = find_container(head)
        return f"video-{number}.{_EXTENSIONS.get(container.name, ending) if container else ending}"

    def data_url(self, picture_id: str, *, shown: bool = False) -> str | None:
        """Return a picture as a data: URL, or None where it is gone.

        Args:
            picture_id: Which one.
            shown: The copy that browsers see instead of the uploaded file.
        """
        try:
            data = self._shown_path(picture_id).read_bytes() if shown else self.read(picture_id)
        except (FileNotFoundError, RequestError):
            return None
        ending = "webp" if shown else self.file_name(picture_id, 0).rpartition(".")[2]
        kind = "video" if is_video_id(picture_id) and not shown else "image"
        return f"data:{kind}/{ending};base64,{base64.b64encode(data).decode()}"

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
            self._keep(key)
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

    def _keep(self, key: str) -> None:
        """Count what was written under a key, and make room for it."""
        files = (self._originals / key, self._shown_path(key))
        with self._lock:
            self._sizes[key] = sum(path.stat().st_size for path in files if path.exists())
            self._make_room()

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


def _sheet(video: Video) -> Image.Image:
    """Return the sampled frames of a video, row by row."""
    width = min(_SHEET_WIDTH, video.width)
    height = max(1, round(video.height * width / video.width))
    columns = min(_SHEET_COLUMNS, len(video))
    rows = -(-len(video) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for n, frame in enumerate(video):
        row, column = divmod(n, columns)
        sheet.paste(frame.resize((width, height)), (column * width, row * height))
    return sheet


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
