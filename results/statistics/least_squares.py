r"""Effects where cells are missing: least squares, as in an analysis of variance of type II.

With holes the effects of different terms are no longer orthogonal. A term *T* gets what it adds to
all terms that do not contain it: with :math:`P_M` the projection on the columns of a model *M* over
the cells that were run, :math:`e_{Ts} = (P_{M_T \cup T} - P_{M_T}) y_{\cdot s}` for
:math:`M_T = \{U : T \not\subseteq U\}` (Yates, 1934; Langsrud, 2003). In a complete design that is
the exact effect. Terms of more than three factors are left to the remainder: nobody reads them, and
with holes few of them can be estimated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from results.errors import AnalysisError
from results.statistics.design import Array, Design, terms
from results.statistics.share_intervals import Term

MOST_FACTORS = 3
"""Of a term that is estimated with holes."""
TOLERANCE = 1e-8
"""Of a column's length that must be new for it to count: below is the rounding of a dependent."""


def measured_terms(design: Design, only: Sequence[str] | None = None) -> dict[str, Term]:
    """Return the terms by their names; see `decomposition.measured_terms`."""
    values = design.values[design.there]
    columns = _columns(design)
    names = {term: ":".join(design.factors[axis] for axis in term) for term in columns}
    measured: dict[str, Term] = {}
    for term, own in columns.items():
        if only is not None and names[term] not in only:
            continue
        base = _basis([np.ones((len(values), 1)), *_not_containing(columns, term)])
        added = _basis([own - base @ (base.T @ own)], scale=np.linalg.norm(own, axis=0))
        if not added.shape[1] and len(term) == 1:
            raise AnalysisError(
                f"too many cells are missing to tell the effect of {names[term]} from the others'"
            )
        effect = added.T @ values
        measured[names[term]] = Term(effect.T @ effect / len(values), added.shape[1])
    return measured


def _columns(design: Design) -> dict[tuple[int, ...], Array]:
    """Return each term's effect-coded columns over the cells that were run."""
    place = np.nonzero(design.there)
    main: dict[int, Array] = {}
    for axis, levels in enumerate(design.levels):
        if len(levels) > 1:
            code = np.vstack([np.eye(len(levels) - 1), -np.ones(len(levels) - 1)])
            main[axis] = code[place[axis]]
    coded: dict[tuple[int, ...], Array] = {}
    for term in terms(design.factors):
        if len(term) > MOST_FACTORS or not all(axis in main for axis in term):
            continue
        columns = main[term[0]]
        for axis in term[1:]:
            columns = np.einsum("ni,nj->nij", columns, main[axis]).reshape(len(columns), -1)
        coded[term] = columns
    return coded


def _not_containing(
    columns: dict[tuple[int, ...], Array], term: tuple[int, ...]
) -> Iterable[Array]:
    return (coded for other, coded in columns.items() if not set(term) <= set(other))


def _basis(blocks: Iterable[Array], scale: Array | None = None) -> Array:
    """Return an orthonormal basis of the columns; dependent ones are dropped."""
    from scipy.linalg import qr  # scipy.linalg takes a while to import; complete designs need none

    matrix = np.concatenate(list(blocks), axis=1)
    size = float((np.linalg.norm(matrix, axis=0) if scale is None else scale).max(initial=0.0))
    if size == 0:
        return np.empty((len(matrix), 0))
    basis, triangle, _ = qr(matrix, mode="economic", pivoting=True)
    rank = int((np.abs(np.diag(triangle)) > TOLERANCE * size).sum())
    return np.asarray(basis[:, :rank])


def main_effects(design: Design) -> list[Array]:
    """Return each factor's main effects in the additive model, a factor a [levels, S] array."""
    main = {term[0]: own for term, own in _columns(design).items() if len(term) == 1}
    values = design.values[design.there]
    matrix = np.concatenate([np.ones((len(values), 1)), *main.values()], axis=1)
    solved = np.linalg.lstsq(matrix, values, rcond=None)[0][1:]
    effects, start = [], 0
    for axis, levels in enumerate(design.levels):
        width = len(levels) - 1 if axis in main else 0
        free = solved[start : start + width]
        effects.append(np.concatenate([free, -free.sum(axis=0, keepdims=True)]))
        start += width
    return effects
