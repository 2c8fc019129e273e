from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poison_guard.records import Examples
from poison_guard.signals.labels.disagreement import label_disagreement
from poison_guard.signals.labels.posterior import fit_posterior
from poison_guard.signals.labels.triggers import find_marks, label_triggers


def blobs(n, seed, k=3):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, k, n)
    return (rng.standard_normal((n, 4)) + 4 * np.eye(4)[codes]).astype(np.float32), codes.astype(str)


def table(inputs, labels):
    frame = pd.DataFrame(
        {"example_id": [str(i) for i in range(len(labels))], "label": labels, "slice": "", "is_new": 1}
    )
    return Examples("table", frame, inputs.astype(float), ("c0", "c1", "c2", "c3"))


def test_own_probabilities_look_like_those_of_new_rows():
    x, y = blobs(600, 0)
    posterior = fit_posterior(x, y)
    new, truth = blobs(3000, 1)
    p = posterior.probabilities(new)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert (p > 0).all()
    at = np.searchsorted(posterior.labels, truth)
    fresh = -np.log(p[np.arange(3000), at]).mean()
    own = -np.log(posterior.own[np.arange(600), np.searchsorted(posterior.labels, y)]).mean()
    assert own == pytest.approx(fresh, abs=0.03)


def test_one_label_or_one_row_gives_probabilities_all_the_same():
    x, _ = blobs(5, 0)
    assert fit_posterior(x, np.array(["a"] * 5)).probabilities(x).tolist() == [[1.0]] * 5
    assert np.isfinite(fit_posterior(x[:1], np.array(["a"])).probabilities(x)).all()


def test_the_difference_of_suspicion_over_the_effect_is_the_share_of_flips():
    x, y = blobs(1000, 0)
    new, given = blobs(4000, 1)
    flip = np.random.default_rng(2).random(4000) < 0.1
    given[flip] = np.array(["1", "2", "0"])[given[flip].astype(int)]
    found = label_disagreement(x, y, new, given)
    means = {
        g: sum(v[1] for v in found["suspicion"][g].values()) / sum(v[0] for v in found["suspicion"][g].values())
        for g in ("all", "trusted")
    }
    assert (means["all"] - means["trusted"]) / found["effect"] == pytest.approx(flip.mean(), abs=0.02)
    moved = {(a, b): count for a, b, count, _ in found["pairs"]["all"]}
    assert moved["0", "1"] > 80 > moved.get(("1", "0"), 0)


def test_labels_that_no_trusted_example_has_are_counted_apart_and_the_new_part_is_measured():
    x, y = blobs(300, 0)
    new, given = blobs(100, 1)
    given[:7] = "strange"
    found = label_disagreement(x, y, new, given.astype(object), is_new=np.arange(100) < 40)
    assert found["unseen"] == {"all": 7, "new": 7}
    assert sum(row[0] for row in found["suspicion"]["new"].values()) == 33


def test_a_value_that_goes_with_a_denied_label_is_listed_once_with_both_sides_counts():
    x, y = blobs(500, 0)
    new, given = blobs(2000, 1)
    at = np.flatnonzero(given == "0")[:40]
    given = given.astype(object)
    new[at, 3], given[at] = 7.25, "1"
    found = label_triggers(fit_posterior(x, y), table(x, y), table(new, given), new)
    marks = [row for row in found["marks"] if row["mark"] == "c3 = 7.25"]
    assert [(row["label"], row["here"], row["there"]) for row in marks] == [("1", 40, 0)]


def test_honest_data_has_no_marks_of_denied_labels():
    (x, y), (new, given) = blobs(500, 0), blobs(2000, 1)
    found = label_triggers(fit_posterior(x, y), table(x, y), table(new, given), new)
    assert found["family"] == []


def test_marks_of_every_kind_are_carried_by_enough_rows_and_their_sums_are_exact():
    rng = np.random.default_rng(0)
    images = Examples("image", pd.DataFrame(index=range(40)), rng.random((40, 3, 9, 9)).round().astype(np.float32))
    texts = Examples(
        "text", pd.DataFrame(index=range(40)), np.array([f"a b{i % 4} c" for i in range(40)], dtype=object)
    )
    for part in (images, texts, table(rng.integers(0, 4, (40, 4)), np.array(["a"] * 40))):
        marks = find_marks((part, part), least=20)
        carried = marks.carried if isinstance(marks.carried, np.ndarray) else marks.carried.toarray() > 0
        assert len(marks.names) == carried.shape[1] > 0
        assert (carried.sum(axis=0) >= 20).all()
        values = rng.random((80, 2))
        np.testing.assert_allclose(marks.sums(values), carried.T @ values, rtol=1e-4)


def test_texts_without_a_shared_word_have_no_marks():
    texts = Examples("text", pd.DataFrame(index=range(3)), np.array(["", " ", ""], dtype=object))
    assert find_marks((texts,), least=2).names == ()
