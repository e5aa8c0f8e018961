"""Parquet files: a row's columns are the keys of the family's rows; pictures are names, bytes, or {bytes, path}.

A row group is read as a whole and the last ones are kept, so rows of one group are best read after each other
(`blocks`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from typing import Any

from internvl.errors import ConfigError, DataError, MissingDependencyError
from internvl.train.meta import SourceSpec
from internvl.train.sources import RawRow, Source, resolver

#: Row groups in memory.
_KEPT_GROUPS = 2


class ParquetSource(Source):
    """Rows in parquet files."""

    def __init__(self, spec: SourceSpec) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise MissingDependencyError(
                f"{spec.files[0]} needs pyarrow: pip install 'internvl[train]', or write the rows as JSONL"
            ) from error
        self.spec = spec
        self._groups: list[tuple[int, int]] = []
        """File and number of each row group."""
        self._ends: list[int] = []
        self._firsts: list[int] = []
        """Rows of the same file before each row group."""
        for number, path in enumerate(spec.files):
            try:
                metadata = pq.read_metadata(path)
            except (OSError, pa.ArrowException) as error:
                raise ConfigError(f"{path}: no parquet file that can be read: {error}") from error
            before = 0
            for group in range(metadata.num_row_groups):
                rows = metadata.row_group(group).num_rows
                if rows:
                    self._groups.append((number, group))
                    self._firsts.append(before)
                    self._ends.append((self._ends[-1] if self._ends else 0) + rows)
                before += rows
        self._tables: OrderedDict[int, Any] = OrderedDict()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def blocks(self) -> list[int]:
        """Rows of each row group."""
        return [end - start for start, end in zip([0, *self._ends], self._ends, strict=False)]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tables": OrderedDict()}  # not sent to other processes

    def find(self, index: int) -> RawRow:
        """Return row `index`, counted over all files."""
        group = bisect_right(self._ends, index)
        place = index - (self._ends[group - 1] if group else 0)
        path = self.spec.files[self._groups[group][0]]
        where = f"{path}:{self._firsts[group] + place + 1}"
        (row,) = self._table(group, where).slice(place, 1).to_pylist()
        return RawRow(row, where, resolver(self.spec.root, path))

    def _table(self, group: int, where: str) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = self._tables.get(group)
        if table is None:
            number, inside = self._groups[group]
            try:
                with pq.ParquetFile(self.spec.files[number]) as file:
                    table = file.read_row_group(inside)
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{where}: the row group cannot be read: {error}") from error
        self._tables[group] = table
        self._tables.move_to_end(group)
        while len(self._tables) > _KEPT_GROUPS:
            self._tables.popitem(last=False)
        return table
