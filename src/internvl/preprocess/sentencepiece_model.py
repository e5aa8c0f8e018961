"""The few fields of a sentencepiece ModelProto that the library does not hand out, read off the wire format.

Field numbers are those of sentencepiece_model.proto: ModelProto.normalizer_spec = 3, in it name = 1,
precompiled_charsmap = 2, add_dummy_prefix = 3, remove_extra_whitespaces = 4; a piece (ModelProto.pieces = 1)
has its type in field 3, where 4 means user-defined. Reading them here avoids a dependency on protobuf.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_PIECES, _NORMALIZER = 1, 3
_CHARSMAP, _DUMMY_PREFIX, _EXTRA_WHITESPACE = 2, 3, 4
_PIECE_TYPE, _USER_DEFINED = 3, 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """One field of a message: its number, its value, and where it lies in the message."""

    number: int
    value: int | bytes
    start: int
    end: int


class NormalizerSpec(NamedTuple):
    """How the model prepares a text before it looks for pieces."""

    charsmap: bytes = b""
    """Compiled replacement rules (NFKC and the like); empty = text stays as it is."""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True


def read_normalizer(model: bytes) -> NormalizerSpec:
    """Return the normalizer of a serialized model; ValueError if the bytes are no protobuf message."""
    spec = NormalizerSpec()
    for field in _fields(model):
        if field.number != _NORMALIZER or not isinstance(field.value, bytes):
            continue
        for inner in _fields(field.value):
            if inner.number == _CHARSMAP and isinstance(inner.value, bytes):
                spec = spec._replace(charsmap=inner.value)
            elif inner.number == _DUMMY_PREFIX:
                spec = spec._replace(add_dummy_prefix=bool(inner.value))
            elif inner.number == _EXTRA_WHITESPACE:
                spec = spec._replace(remove_extra_whitespaces=bool(inner.value))
    return spec


def user_defined_ids(model: bytes) -> frozenset[int]:
    """Return the ids of the pieces that are found in the text before anything is merged."""
    pieces = (field.value for field in _fields(model) if field.number == _PIECES)
    return frozenset(
        i
        for i, piece in enumerate(pieces)
        if isinstance(piece, bytes)
        and any(field.number == _PIECE_TYPE and field.value == _USER_DEFINED for field in _fields(piece))
    )


def without_dummy_prefix(model: bytes) -> bytes:
    """Return the model with add_dummy_prefix = false.

    A later occurrence of a field wins, and messages that occur twice are merged (protobuf encoding rules),
    so a second normalizer_spec that holds just this field is all it takes.
    """
    _ = read_normalizer(model)  # ValueError on garbage, before anything is appended to it
    return model + bytes([_NORMALIZER << 3 | _BYTES, 2, _DUMMY_PREFIX << 3 | _VARINT, 0])


def _fields(message: bytes) -> Iterator[Field]:
    position = 0
    while position < len(message):
        start = position
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        value: int | bytes
        if wire == _VARINT:
            value, position = _varint(message, position)
        elif wire in (_BYTES, _FIXED32, _FIXED64):
            if wire == _BYTES:
                size, position = _varint(message, position)
            else:
                size = 4 if wire == _FIXED32 else 8
            if position + size > len(message):
                raise ValueError(f"field {number} at byte {start} runs past the end")
            value, position = message[position : position + size], position + size
        else:
            raise ValueError(f"wire type {wire} at byte {start}")
        yield Field(number, value, start, position)


def _varint(message: bytes, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise ValueError(f"broken number at byte {position}")
