"""Names as a database can keep them: bounded and without NUL; a name that must change gets a hash."""

from __future__ import annotations

import hashlib

import pandas as pd

__all__ = ["MAX_NAME", "fit_name", "fit_names"]

MAX_NAME = 256
"""Characters; database indexes take no longer keys."""


def fit_name(name: str) -> str:
    """Return `name` if it can be kept as it is, else its beginning and a hash of the whole.

    >>> fit_name("user-7")
    'user-7'
    """
    if len(name) <= MAX_NAME and "\0" not in name:
        return name
    mark = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{name[: MAX_NAME - 33]}~{mark}".replace("\0", "␀")


def fit_names(names: pd.Series) -> pd.Series:
    """Return a column of names with those that cannot be kept replaced by `fit_name`; the rest is untouched."""
    if names.empty or names.isna().all():
        return names
    text = names.astype("str")
    odd = (text.str.len() > MAX_NAME) | text.str.contains("\0", regex=False)
    odd = odd.fillna(False).astype(bool)
    return text.where(~odd, text[odd].map(fit_name)) if odd.any() else text
