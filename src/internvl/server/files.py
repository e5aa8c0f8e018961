"""/v1/files: pictures and videos to ask about by their id, and the requests and answers of batches."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal, get_args

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import FileResponse

from internvl.media.source import short_name
from internvl.preprocess.messages import nearest
from internvl.server.caller import CallerDep
from internvl.server.errors import InvalidBody
from internvl.server.file_store import StoredFile
from internvl.server.openapi import ERRORS
from internvl.server.pages import page_of
from internvl.server.schemas.files import FileDeleted, FileList, FileObject, Purpose
from internvl.server.service import ServiceDep

router = APIRouter(tags=["files and batches"], responses=ERRORS)

_FIELDS = ("file", "purpose", "expires_after[anchor]", "expires_after[seconds]")
_LIFETIME_S = (3600, 30 * 24 * 3600)
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": list(get_args(Purpose))},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {
                            "type": "integer",
                            "minimum": _LIFETIME_S[0],
                            "maximum": _LIFETIME_S[1],
                        },
                    },
                }
            }
        },
    }
}


def _object(file: StoredFile) -> FileObject:
    return FileObject(
        id=file.id,
        object="file",
        bytes=file.bytes,
        created_at=file.created_at,
        expires_at=file.expires_at,
        filename=file.filename,
        purpose=file.purpose,
        status="processed",
    )


@router.post("/v1/files", openapi_extra=_FORM)
async def upload_file(request: Request, service: ServiceDep, caller: CallerDep) -> FileObject:
    """Keep a file, as multipart form data: `file`, `purpose`, and how long, if not for ever."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise InvalidBody("expected multipart/form-data with a file and a purpose")
    async with request.form(max_files=1, max_fields=len(_FIELDS), max_part_size=1024) as form:
        upload, purpose, lifetime_s = _read_form(form)
        add = partial(
            service.files.add,
            upload.file,
            owner=caller.owner,
            filename=_plain_name(upload.filename),
            purpose=purpose,
            expires_after_s=lifetime_s,
        )
        return _object(await anyio.to_thread.run_sync(add))


@router.get("/v1/files")
async def list_files(
    service: ServiceDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    after: Annotated[str | None, Query(max_length=128)] = None,
    purpose: Annotated[str | None, Query(max_length=64)] = None,
) -> FileList:
    """List the caller's files."""
    found = await anyio.to_thread.run_sync(service.files.owned_by, caller.owner, purpose)
    page, more = page_of(found if order == "desc" else found[::-1], after=after, limit=limit)
    ids = [file.id for file in page]
    return FileList(
        object="list",
        data=[_object(file) for file in page],
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
        has_more=more,
    )


@router.get("/v1/files/{file_id}")
async def get_file(file_id: str, service: ServiceDep, caller: CallerDep) -> FileObject:
    """Describe a file."""
    return _object(await anyio.to_thread.run_sync(service.files.get, file_id, caller.owner))


@router.get(
    "/v1/files/{file_id}/content",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
async def get_file_content(file_id: str, service: ServiceDep, caller: CallerDep) -> Any:
    """Return a file's bytes."""
    path = await anyio.to_thread.run_sync(service.files.path, file_id, caller.owner)
    # a browser must neither show nor guess what somebody uploaded
    headers = {
        "Content-Disposition": f'attachment; filename="{file_id}"',
        "X-Content-Type-Options": "nosniff",
    }
    return FileResponse(path, media_type="application/octet-stream", headers=headers)


@router.delete("/v1/files/{file_id}")
async def delete_file(file_id: str, service: ServiceDep, caller: CallerDep) -> FileDeleted:
    """Remove a file."""
    await anyio.to_thread.run_sync(service.files.delete, file_id, caller.owner)
    return FileDeleted(id=file_id, object="file", deleted=True)


def _read_form(form: FormData) -> tuple[UploadFile, str, int | None]:
    """Return the file, its purpose and its lifetime in seconds. Raises InvalidBody."""
    for name in form:
        if name not in _FIELDS:
            raise InvalidBody(
                f"unknown field {short_name(name)!r}. {nearest(name, _FIELDS)}", param=short_name(name)
            )
    upload, purpose = form.get("file"), form.get("purpose")
    if not isinstance(upload, UploadFile):
        raise InvalidBody("file: expected a file, with a file name", param="file")
    if purpose not in get_args(Purpose):
        raise InvalidBody(
            f"purpose is {purpose!r:.80}. {nearest(purpose, get_args(Purpose))}", param="purpose"
        )
    anchor, seconds = form.get("expires_after[anchor]"), form.get("expires_after[seconds]")
    if anchor not in (None, "created_at"):
        raise InvalidBody("expires_after[anchor]: expected created_at", param="expires_after[anchor]")
    if seconds is None:
        return upload, str(purpose), None
    if not (isinstance(seconds, str) and seconds.isdecimal() and _in_range(int(seconds))):
        low, high = _LIFETIME_S
        raise InvalidBody(
            f"expires_after[seconds]: expected a whole number from {low} to {high}",
            param="expires_after[seconds]",
        )
    return upload, str(purpose), int(seconds)


def _in_range(seconds: int) -> bool:
    return _LIFETIME_S[0] <= seconds <= _LIFETIME_S[1]


def _plain_name(name: str | None) -> str:
    """Return the last part of what a client calls a file; it is only ever shown."""
    return short_name((name or "").replace("\\", "/").rpartition("/")[2]) or "unnamed"
