"""Find documents that hide text from people or speak to the model that reads them.

What is hidden is a fact of each record. Whether it means anything is a question of the feed: raw web pages hide
menus, and the manual of a model quotes its prompts. So the rate of vetted records, or of the feed's others, decides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from poison_guard.records import Campaign
from poison_guard.signals.campaigns.findings import make_campaign
from poison_guard.signals.pvalues import beta_low, binomial_high

__all__ = ["HIDDEN", "hidden_cells", "hidden_text"]

HIDDEN = "words.hidden"
"""Column of one byte: a bit a way to hide, in the order of `WAYS`."""
_CHARACTERS = 100_000  # of a document that are read
_UNSEEN = "\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f\U000e0100-\U000e01ef"
_ANY = re.compile(f"[{_UNSEEN}]")
_AS_READ = {code: None for code in range(1 << 16) if _ANY.match(chr(code))} | {
    0xE0000 + code: chr(code) if 32 <= code < 127 else None for code in range(128)
}
"""Invisible characters to nothing; those of the tag block to the letters that a model reads them as."""
_RUN = re.compile(f"[{_UNSEEN}]{{8,}}")  # the flag of a region has six
_INSIDE = re.compile(r"[A-Za-z][\u200b\u2060-\u2064\ufeff]{1,4}(?=[A-Za-z])")
_INSIDE_WORDS = 8  # letters so parted from the next one, from which on words are written against being read
_MARKUP = re.compile(
    r"<[a-z][a-z0-9]{0,15}\b[^<>]{0,400}?(?:"
    r"font-size\s{0,3}:\s{0,3}0(?![.0-9]*[1-9])|display\s{0,3}:\s{0,3}none|visibility\s{0,3}:\s{0,3}hidden|"
    r"opacity\s{0,3}:\s{0,3}0(?![.0-9]*[1-9])|(?<=\s)hidden(?=[\s>=]))[^<>]{0,400}>[^<]{20}"
)
_MODEL = r"(?:ai|llm|(?:large )?language model|(?:ai )?assistant|chatbot)s?"
_SPOKEN = (
    (
        ("ignore", "disregard", "forget", "override"),
        re.compile(
            r"\b(?:ignore|disregard|forget|override)\s(?:[\w']{1,20}\s){0,3}(?:previous|prior|above|earlier|preceding)"
            r"\s(?:[\w']{1,20}\s){0,2}(?:instruction|prompt|direction|rule|guideline|context)"
        ),
    ),
    (
        ("<|", "inst]", "sys>>"),
        re.compile(r"<\|(?:im_start|system|assistant|user|endoftext|eot_id)\|>|\[/?inst\]|<</?sys>>"),
    ),
    (
        (" ai ", " ai,", "llm", "language model", "assistant", "chatbot"),
        re.compile(
            rf"\b(?:if|as) (?:you are )?an? {_MODEL},? (?:reading|that reads|you (?:must|should|will|are to))\b"
            rf"|\b(?:attention|note to|instructions? (?:to|for)|message (?:to|for))(?: all| any| the)? {_MODEL}\b"
            rf"|\b{_MODEL} (?:reading|processing|indexing|summari[sz]ing) this\b"
        ),
    ),
    (
        ("reveal", "mention", "tell", "disclose"),
        re.compile(
            r"\b(?:do not|don't|never) (?:reveal|mention|tell|disclose)\b"
            r"[^.]{0,40}\b(?:the user|this (?:instruction|prompt))\b"
        ),
    ),
)
"""Instructions to a model: one of the words must be there, before the expression is looked for."""
WAYS = ("invisible characters", "markup that is not shown", "instructions to a model")
_SURE = 0.95  # quantile of the trusted set's rate


def hidden_cells(texts: Sequence[str]) -> list[bytes]:
    """Return the cell of `HIDDEN` of each text, of its first 100,000 characters; instructions in English."""
    return [bytes([sum(1 << k for k, there in enumerate(_ways(text[:_CHARACTERS])) if there)]) for text in texts]


def _ways(text: str) -> tuple[bool, bool, bool]:
    unseen = False
    if not text.isascii() and _ANY.search(text):
        unseen = _RUN.search(text) is not None or len(_INSIDE.findall(text)) >= _INSIDE_WORDS
        text = text.translate(_AS_READ)
    low = " ".join(text.casefold().split())
    spoken = any(any(word in low for word in needed) and form.search(low) for needed, form in _SPOKEN)
    return unseen, "<" in low and _MARKUP.search(low) is not None, spoken


def hidden_text(
    frame: pd.DataFrame,
    *,
    rate: float,
    alpha: float,
    trusted: Sequence[str] | None = None,
    earlier: pd.DataFrame | None = None,
) -> list[Campaign]:
    """Return the campaigns of records of a campaign frame, with the column `HIDDEN`, that hide text in one way.

    All of them are held where at most a share `rate` of honest records hides text so: the 95 % bound of the `trusted`
    texts' rate where they are enough to tell, else the share of all records. Where it is commoner, held are those of
    sources that do it more often than the others, with a chance of at most `alpha` each (binomial). `earlier` (same
    columns) counts like the rest.

    References: Boucher et al. (2022), "Bad Characters: Imperceptible NLP Attacks"; Greshake et al. (2023), "Not What
    You've Signed Up For".
    """
    both = frame if earlier is None or earlier.empty else pd.concat([frame, earlier], ignore_index=True)
    cells = np.array([cell[0] if isinstance(cell, bytes) and cell else 0 for cell in both[HIDDEN]], np.uint8)
    vetted = np.frombuffer(b"".join(hidden_cells(trusted or ())), np.uint8)
    told = len(vetted) > 0 and float(beta_low(1, len(vetted), _SURE)) <= rate
    source = pd.factorize(both["source_id"], sort=True)[0]
    found = []
    for bit, way in enumerate(WAYS):
        hides = (cells >> bit & 1).astype(bool)
        if not hides[: len(frame)].any():
            continue
        usual = int((vetted >> bit & 1).sum())
        bound = float(beta_low(usual + 1, max(len(vetted) - usual, 1), _SURE)) if told else float(hides.mean())
        if bound > rate:
            hides &= _beyond(hides, source, usual / len(vetted) if told else 0.0, alpha)
        rows = np.flatnonzero(hides)
        if (rows < len(frame)).any():
            args = {"n_records": len(rows), "way": way}
            found.append(
                make_campaign(
                    both, rows, kind="hidden_text", p=alpha, strength=1.0, who="source_id", args=args, n_own=len(frame)
                )
            )
    return found


def _beyond(hides: np.ndarray, source: np.ndarray, usual: float, alpha: float) -> np.ndarray:
    """Return ``(n,)`` whether the row's source hides text more often than the others do; unknown sources do not."""
    known = source >= 0
    n, k = (np.bincount(source[known], weight, minlength=1) for weight in (np.ones(known.sum()), hides[known]))
    others = np.maximum((hides.sum() - k + 1) / (len(hides) - n + 2), usual)
    guilty = (k > 1) & (binomial_high(k, n, np.minimum(others, 1)) <= alpha)
    return known & guilty[source]
