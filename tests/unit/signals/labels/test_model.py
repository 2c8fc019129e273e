"""The label signal by itself: what it holds, what it says, and that honest records are held as seldom as promised."""

import numpy as np
import pandas as pd
import pytest

from poison_guard.decide.reasons import sentence
from poison_guard.errors import ConfigError
from poison_guard.records import Examples
from poison_guard.signals.conformal import held_bounds
from poison_guard.signals.labels.model import LabelModel, encoded


def blobs(n, seed, k=3):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, k, n)
    rows = rng.standard_normal((n, 4)) + 3 * np.eye(4)[codes]
    return examples(rows, codes.astype(str))


def examples(rows, labels):
    frame = pd.DataFrame({"example_id": [f"e{i}" for i in range(len(rows))], "label": labels})
    return Examples("table", frame, rows, ("a", "b", "c", "d"))


@pytest.fixture(scope="module")
def model():
    return LabelModel.fit(blobs(500, 0), blobs(400, 1), rate=0.01)


def relabelled(known, label):
    return Examples(known.kind, known.frame.assign(label=label), known.inputs, known.features)


def test_flipped_labels_are_held_and_honest_ones_as_seldom_as_promised(model):
    honest = blobs(3000, 2)
    p = model.evidence(honest).p
    low, high = held_bounds(400, 0.01, 3000, tail=0.001)
    assert low <= (p <= 0.01).sum() <= high
    wrong = relabelled(honest, ((honest.frame["label"].astype(int) + 1) % 3).astype(str))
    assert (model.evidence(wrong).p <= 0.01).mean() > 0.7  # each label has 130 calibration rows


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1])
def test_wrong_labels_in_the_trusted_set_hide_flips_and_hold_no_more_honest_records(model, share):
    rng = np.random.default_rng(7)

    def mislabelled(known):
        labels = known.frame["label"].astype(int).to_numpy()
        moved = np.where(rng.random(len(labels)) < share, rng.integers(1, 3, len(labels)), 0)
        return relabelled(known, ((labels + moved) % 3).astype(str))

    worse = LabelModel.fit(mislabelled(blobs(500, 0)), mislabelled(blobs(400, 1)), rate=0.01)
    honest = blobs(3000, 2)
    flipped = relabelled(honest, ((honest.frame["label"].astype(int) + 1) % 3).astype(str))
    p, wrong = worse.evidence(honest).p, worse.evidence(flipped).p
    assert (p <= 0.01).sum() <= held_bounds(400, 0.01, 3000, tail=0.001)[1]
    assert (wrong <= 0.01).mean() <= (model.evidence(flipped).p <= 0.01).mean()


def test_the_reason_says_what_the_nearest_trusted_records_say(model):
    far = examples(np.array([[6.0, 0, 0, 0]]), np.array(["1"]))
    (reason,) = model.evidence(far).reasons.values()
    assert sentence(reason.code, reason.args) == "trusted neighbours say 0 10 of 10 times, not 1"


def test_every_reported_record_has_a_reason_and_batches_do_not_matter(model):
    some = blobs(300, 3)
    whole = model.evidence(some)
    assert set(whole.reasons) == set(np.flatnonzero(whole.p <= 0.05))
    one = [model.evidence(some.take(np.array([k]))).p[0] for k in range(40)]
    assert one == whole.p[:40].tolist()


def test_a_label_that_no_trusted_record_has_is_held_with_its_reason(model):
    new = relabelled(blobs(5, 4), "9")
    found = model.evidence(new)
    assert (found.p == 1 / 401).all()
    assert {reason.code for reason in found.reasons.values()} == {"label_unseen"}


def test_labels_are_calibrated_apart_where_each_has_rows_enough_and_together_else():
    reference, calibration = blobs(300, 5, k=2), blobs(300, 6, k=2)
    assert LabelModel.fit(reference, calibration, rate=0.01).by_label
    assert not LabelModel.fit(reference, blobs(150, 6, k=2), rate=0.01).by_label
    one = examples(
        np.r_[calibration.inputs, [[9.0, 9, 9, 9]]], np.append(calibration.frame["label"].to_numpy(object), "rare")
    )
    assert not LabelModel.fit(reference, one, rate=0.01).by_label


def test_too_few_calibration_rows_are_told():
    few = LabelModel.fit(blobs(300, 0), blobs(90, 1), rate=0.01)
    assert [note.code for note in few.notes()] == ["few_calibration_rows"]
    assert few.notes()[0].args["needed"] == 99


def columns_one_and_two(rows):
    return rows[:, :2]


def nothing(rows):
    return np.full((len(rows), 2), np.nan)


def test_an_encoder_by_import_path_takes_the_place_of_the_representation():
    here = f"{__name__}:columns_one_and_two"
    fitted = LabelModel.fit(blobs(300, 0), blobs(200, 1), rate=0.01, represent=encoded(here))
    assert fitted.views.whole.reference.shape == (500, 2)


@pytest.mark.parametrize(("path", "words"), [("no.such:thing", "cannot be imported"), ("json:nothing", "cannot be")])
def test_an_encoder_that_is_not_there_is_named(path, words):
    with pytest.raises(ConfigError, match=words):
        encoded(path)


def test_an_encoder_that_answers_nonsense_is_refused():
    with pytest.raises(ConfigError, match="300 rows of finite numbers"):
        LabelModel.fit(blobs(300, 0), blobs(200, 1), rate=0.01, represent=encoded(f"{__name__}:nothing"))
