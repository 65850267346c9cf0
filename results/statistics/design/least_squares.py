r"""Effects where cells are missing: least squares, as in an analysis of variance of type II.

With holes the effects of different terms are no longer orthogonal. A term *T* gets what it adds to
all terms that do not contain it: with :math:`P_M` the projection on the columns of a model *M* over
the cells that were run, :math:`e_{Ts} = (P_{M_T \cup T} - P_{M_T}) y_{\cdot s}` for
:math:`M_T = \{U : T \not\subseteq U\}` (Yates, 1934; Langsrud, 2003). In a complete design that is
the exact effect. Terms of more than three factors are left to the remainder: nobody reads them, and
with holes few of them can be estimated.

What a model leaves of the values is least over all fillings of the holes (Healy and Westmacott,
1956). Of a complete design the projections are known in closed form, so the fillings are found from
a system as large as the number of holes, not of cells or columns: with :math:`Q = 1 - P_M` over all
cells, zeros in the holes *h* and :math:`b = (Q y)_h`, what is left is
:math:`y' Q y - b' Q_{hh}^{+} b`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from results.errors import AnalysisError
from results.statistics.design.design import Array, Design, terms
from results.statistics.design.share_parts import Term
from results.statistics.design.yates import effects_of

MOST_FACTORS = 3
"""Of a term that is estimated with holes."""
TOLERANCE = 1e-10
"""Of a diagonal element that is left of a dependent direction by rounding."""


def measured_terms(design: Design, only: Sequence[str] | None = None) -> dict[str, Term]:
    """Return the terms by their names; see `decomposition.measured_terms`."""
    known = [
        term
        for term in terms(design.factors)
        if len(term) <= MOST_FACTORS and all(len(design.levels[axis]) > 1 for axis in term)
    ]
    holes = _Holes(design, known)
    measured: dict[str, Term] = {}
    for term in known:
        name = ":".join(design.factors[axis] for axis in term)
        if only is not None and name not in only:
            continue
        containing = [other for other in known if set(term) <= set(other)]
        without = holes.kept(containing)
        with_term = holes.kept([other for other in containing if other != term])
        degrees = int(np.prod([len(design.levels[axis]) - 1 for axis in term]))
        degrees -= with_term.open - without.open
        if not degrees and len(term) == 1:
            raise AnalysisError(
                f"too many cells are missing to tell the effect of {name} from the others'"
            )
        gram = holes.grams[term] - without.gram + with_term.gram
        measured[name] = Term(gram / design.cells, degrees)
    return measured


class _Kept(NamedTuple):
    """What the best filling of the holes takes off what a model leaves, and what it leaves open."""

    gram: Array
    """Inner products between seeds, [S, S]."""
    open: int
    """In how many directions of the holes the model says nothing of the cells that were run."""


class _Holes:
    """The holes of a design as all models see them."""

    def __init__(self, design: Design, known: Sequence[tuple[int, ...]]) -> None:
        run = design.there
        values = np.where(run[..., None], design.values, 0.0)
        values -= run[..., None] * (values[run].mean(axis=0))
        self._sizes = design.values.shape[:-1]
        self._place = np.nonzero(~run)
        self.grams: dict[tuple[int, ...], Array] = {}
        """Inner products of the effects of the values, zeros in the holes, between seeds."""
        self._effects: dict[tuple[int, ...], Array] = {}
        for term, effect in effects_of(values, known).items():
            flat = effect.reshape(-1, values.shape[-1])
            self.grams[term] = flat.T @ flat * (run.size / len(flat))
            self._effects[term] = effect[
                tuple(i * (axis in term) for axis, i in enumerate(self._place))
            ]
        grand = values.mean(axis=tuple(range(values.ndim - 1)))
        self._all = grand + sum(self._effects.values())
        same = np.eye(len(self._place[0])) - 1 / run.size
        self._left = same - sum(self._projection(term) for term in known)

    def kept(self, dropped: Sequence[tuple[int, ...]]) -> _Kept:
        """Return what the holes mean to the model of all known terms but some."""
        from scipy.linalg import lapack, solve_triangular  # slow to import; few designs have holes

        left = self._left.copy()
        right = -self._all
        for term in dropped:
            left += self._projection(term)
            right = right + self._effects[term]
        factor, order, rank, _ = lapack.dpstrf(left, tol=TOLERANCE, lower=1)
        order = order[:rank] - 1
        solved = solve_triangular(factor[:rank, :rank], right[order], lower=True)
        return _Kept(solved.T @ solved, len(left) - int(rank))

    def _projection(self, term: tuple[int, ...]) -> Array:
        """Return the complete design's projection on a term, between the holes."""
        entry: Array | float = 1.0
        for axis, (place, size) in enumerate(zip(self._place, self._sizes, strict=True)):
            same = place[:, None] == place
            entry = entry * (same - 1 / size if axis in term else 1 / size)
        return np.asarray(entry)


def main_effects(design: Design) -> list[Array]:
    """Return each factor's main effects in the additive model, a factor a [levels, S] array."""
    place = np.nonzero(design.there)
    coded = [
        np.vstack([np.eye(len(levels) - 1), -np.ones(len(levels) - 1)])[of]
        for levels, of in zip(design.levels, place, strict=True)
    ]
    values = design.values[design.there]
    matrix = np.concatenate([np.ones((len(values), 1)), *coded], axis=1)
    solved = np.linalg.lstsq(matrix, values, rcond=None)[0][1:]
    effects, start = [], 0
    for levels in design.levels:
        free = solved[start : start + len(levels) - 1]
        effects.append(np.concatenate([free, -free.sum(axis=0, keepdims=True)]))
        start += len(levels) - 1
    return effects


def known_mean(values: Array, axes: tuple[int, ...]) -> Array:
    """Return means over some axes of what is not NaN; NaN, and no warning, where nothing is."""
    count = np.sum(~np.isnan(values), axis=axes)
    return np.asarray(np.nansum(values, axis=axes) / np.where(count > 0, count, np.nan))


def whole(design: Design) -> Array:
    """Return the values with the additive model's prediction in the cells that were never run."""
    if design.complete:
        return design.values
    additive = np.zeros_like(design.values)
    for axis, effect in enumerate(main_effects(design)):
        shape = [1] * additive.ndim
        shape[axis], shape[-1] = effect.shape
        additive += effect.reshape(shape)
    grand = known_mean(design.values - additive, tuple(range(additive.ndim - 1)))
    return np.where(np.isnan(design.values), additive + grand, design.values)
