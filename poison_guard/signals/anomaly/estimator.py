"""What scikit-learn asks of an estimator, by its names alone: parameters, columns by name, predictions, tags.

Larger scores of `score` are stranger; `decision_function` and `score_samples` have scikit-learn's sign, smaller is
stranger. scikit-learn is imported only where it asks for tags itself.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from poison_guard.errors import DataError, UsageError

__all__ = ["Estimator", "Fitted", "InputError", "NotFittedError", "ParameterError"]


class NotFittedError(UsageError, AttributeError):
    """A detector or feature map was used before it learned from any rows."""


class InputError(DataError, ValueError):
    """A table cannot be fitted on or scored; a `ValueError` too, as scikit-learn's tools expect it."""


class ParameterError(UsageError, ValueError):
    """A detector has no parameter of that name."""


class Fitted:
    """What is learned by `fit` stands in attributes that end in ``_``; before, they say that `fit` was not called."""

    name: ClassVar[str]

    if not TYPE_CHECKING:  # a type checker shall still find names that `fit` does not set

        def __getattr__(self, name: str) -> Any:
            if name.endswith("_") and not name.startswith("_"):
                raise NotFittedError(f"{self.name} was not fitted; call fit with trusted rows first")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


_USUAL = 0.99
"""Share of the rows fitted on that `predict` calls usual; the guard's own p-values do not rest on it."""
_FEW = 2048
"""Rows kept to find the score of that share."""


class Estimator(Fitted):
    """Base of the detectors: `fit`, `score` and `explain` of a subclass take the columns of a DataFrame by their names.

    A DataFrame to score may have the columns in another order than the one that was fitted on, and is refused where it
    lacks some or has others. After `fit` stand ``n_features_in_``, and ``feature_names_in_`` where the columns had
    names.
    """

    score: Callable[..., np.ndarray]
    offset_: float
    """What `score_samples` of a row must be below for `predict` to call it strange."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name == "offset_" and "_few" in vars(self):
                if "offset" not in self._few:  # found when first asked for
                    self._few["offset"] = -float(np.quantile(self.score(self._few["rows"]), _USUAL))
                return self._few["offset"]
            return super().__getattr__(name)

    def __init_subclass__(cls, **more: Any) -> None:
        """Wrap the methods that a detector defines."""
        super().__init_subclass__(**more)
        if "fit" in vars(cls):
            cls.fit = _noting_columns(vars(cls)["fit"])
        for name in ("score", "explain"):
            if name in vars(cls):
                setattr(cls, name, _by_fitted_names(vars(cls)[name]))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters that the detector was made with."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Change parameters, checked as when the detector is made; `UsageError` for a name that is none."""
        known = self.get_params()
        other = next((name for name in params if name not in known), None)
        if other is not None:
            raise ParameterError(f"{self.name} has no parameter {other!r}; it has {', '.join(known)}")
        vars(self).update(vars(type(self)(**known | params)))
        return self

    def fit_predict(self, X: Any, y: object = None) -> np.ndarray:
        """Return what `predict` says of the rows that it was fitted on."""
        return self.fit(X, y).predict(X)  # type: ignore[attr-defined]  # every detector fits

    def predict(self, X: Any) -> np.ndarray:
        """Return ``(n,)`` int: -1 for rows stranger than 99 % of the rows fitted on (``offset_``), 1 for others."""
        return np.where(self.score_samples(X) < self.offset_, -1, 1)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return `score_samples` less ``offset_`` ``(n,)``: below 0 where `predict` says strange."""
        return self.score_samples(X) - self.offset_

    def score_samples(self, X: Any) -> np.ndarray:
        """Return minus the score ``(n,)``: smaller is stranger, as scikit-learn has it (PyOD has it like `score`)."""
        return -self.score(X)

    def __repr__(self) -> str:
        """Return the call that makes such a detector, without the parameters that are as by default."""
        default = {name: one.default for name, one in inspect.signature(type(self)).parameters.items()}
        given = (f"{name}={value!r}" for name, value in self.get_params().items() if value != default[name])
        return f"{type(self).__name__}({', '.join(given)})"

    def __sklearn_is_fitted__(self) -> bool:
        """Whether `fit` was called."""
        return any(name.endswith("_") for name in vars(self))

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: an outlier detector that needs no y and takes NaN."""
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags("outlier_detector", TargetTags(required=False), input_tags=InputTags(allow_nan=True))


def _noting_columns(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Return `fit` that also keeps how many columns the rows had, and their names where they have them."""

    @functools.wraps(fit)
    def noting(self: Any, X: Any, y: object = None) -> Any:
        first: list[Any] = []
        fit(self, _kept(X, first) if isinstance(X, Iterator) else X)
        block = first[0] if first else X
        table = block if hasattr(block, "shape") else np.asarray(block)
        for name in ("feature_names_in_", "offset_", "_few"):
            vars(self).pop(name, None)
        if (names := _names(block)) is not None:
            self.feature_names_in_ = names
        self.n_features_in_ = int(table.shape[1])
        if not first:
            some = table[:: 1 + (len(table) - 1) // _FEW]
            self._few = {"rows": some.copy() if hasattr(some, "copy") else some}
        return self

    return noting


def _kept(blocks: Iterator[Any], first: list[Any]) -> Iterator[Any]:
    for block in blocks:
        if not first:
            first.append(block[:0])
        yield block


def _names(X: Any) -> tuple[str, ...] | None:
    """Return the names of the columns of a DataFrame whose columns are all called by different texts."""
    if not isinstance(X, pd.DataFrame) or not all(isinstance(name, str) for name in X.columns):
        return None
    return tuple(X.columns) if X.columns.is_unique else None


def _by_fitted_names(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that gets the columns of a DataFrame in the order that was fitted on."""

    @functools.wraps(method)
    def by_names(self: Any, X: Any, y: object = None) -> Any:
        blocks = (_in_order(self, block) for block in X) if isinstance(X, Iterator) else _in_order(self, X)
        return method(self, blocks)

    del by_names.__wrapped__  # type: ignore[attr-defined]  # its own signature is the one to look at: it takes a y
    return by_names


def _in_order(detector: Any, X: Any) -> Any:
    names = vars(detector).get("feature_names_in_")
    if names is None or not isinstance(X, pd.DataFrame) or tuple(X.columns) == names:
        return X
    lacks = [name for name in names if name not in X.columns]
    others = [str(name) for name in X.columns if name not in names]
    if lacks or others or len(X.columns) != len(names):
        said = [
            f"it lacks {', '.join(lacks[:5])}" if lacks else "",
            f"it has {', '.join(others[:5])}" if others else "",
        ]
        why = " and ".join(filter(None, said)) or "it has a column twice"
        raise InputError(f"the table to score has other columns than the one fitted on: {why}")
    return X[list(names)]
