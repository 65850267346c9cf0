"""Labels of tables: which values are labels, and which class each one stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from numpy.typing import NDArray

from prune_core.errors import DatasetError


def classes_of(
    columns: Mapping[str, pa.ChunkedArray], named: Sequence[str] | None
) -> tuple[dict[str, NDArray[np.int64]], tuple[str, ...]]:
    """Number the labels of a data set's splits.

    Args:
        columns: Labels by split; ``train`` decides which classes there are.
        named: What the file calls the classes 0, 1, ...; None where it does not.

    Returns:
        Labels [n] from 0 by split, and the name of each class. Numbers without gaps stay as they
        are; others, and texts, are numbered in sorted order.

    Raises:
        DatasetError: A value is no label, or the splits do not fit together.
    """
    values = {split: _values(column, split) for split, column in columns.items()}
    whole = values["train"]
    if any(isinstance(of.dtype, np.dtypes.StrDType) != _is_text(whole) for of in values.values()):
        raise DatasetError("labels are texts in one split and numbers in another; make them alike")
    known = list(range(len(named))) if named and not _is_text(whole) else np.unique(whole).tolist()
    for split, of in values.items():
        if strange := sorted(set(np.unique(of).tolist()) - set(known)):
            lacking = "its file has no names for" if named else "train lacks"
            more = ", ..." if len(strange) > 5 else ""
            listed = ", ".join(map(str, strange[:5]))
            raise DatasetError(f"{split} has labels that {lacking}: {listed}{more}")
    order = np.array(known)
    numbered = {split: np.searchsorted(order, of).astype(np.int64) for split, of in values.items()}
    names = named if named and not _is_text(whole) else [str(value) for value in known]
    return numbered, tuple(names)


def _is_text(values: NDArray[np.generic]) -> bool:
    return isinstance(values.dtype, np.dtypes.StrDType)


def _values(column: pa.ChunkedArray, split: str) -> NDArray[np.generic]:
    """Return labels as texts or as integers."""
    if not len(column):
        raise DatasetError(f"{split}: its files hold no rows")
    if kinds.is_dictionary(column.type):  # whose values may be missing too
        column = pa.chunked_array([chunk.dictionary_decode() for chunk in column.chunks])
    if column.null_count:
        raise DatasetError(f"{split}: labels that are missing (null): {column.null_count}")
    kind = column.type
    if kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind):
        texts = np.array(column.to_pylist(), dtype=np.str_)
        if empty := int((np.strings.strip(texts) == "").sum()):
            raise DatasetError(f"{split}: labels that are empty texts: {empty} of {len(texts)}")
        return texts
    if not (kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind)):
        raise DatasetError(f"{split}: labels are of type {kind}; they may be integers or texts")
    given = np.array(column.to_pylist())
    with np.errstate(invalid="ignore"):  # what is no number is found below
        numbers = given.astype(np.int64)
    if not np.array_equal(numbers, given):
        raise DatasetError(f"{split}: labels such as {given[numbers != given][0]} are no integers")
    if len(numbers) and numbers.min() < 0:
        raise DatasetError(
            f"{split}: labels below 0, which stand for images without one: {(numbers < 0).sum()} "
            f"of {len(numbers)}"
        )
    return numbers
