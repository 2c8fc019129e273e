"""A label is denied only where it is denied whatever quarter of a picture is not looked at."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from poison_guard.records import Examples
from poison_guard.signals.labels.model import LabelModel
from poison_guard.signals.labels.representation import fit_representation


def pictures(images, labels):
    frame = pd.DataFrame({"example_id": [str(i) for i in range(len(labels))], "label": labels, "slice": ""})
    return Examples("image", frame, images[:, None].astype(np.float32))


@pytest.fixture(scope="module")
def parts():
    pixels, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(5).permutation(len(digits))
    images, labels = pixels[order].reshape(-1, 8, 8) / 16, digits[order].astype(str)
    return [(images[part], labels[part]) for part in (slice(400), slice(400, 700), slice(700, None))]


@pytest.fixture(scope="module")
def model(parts):
    (reference, calibration, _) = parts
    return LabelModel.fit(pictures(*reference), pictures(*calibration), rate=0.01)


def marked(images):
    out = images.copy()
    out[:, -3:-1, -3:-1] = 1.0
    return out


def test_a_mark_that_no_trusted_picture_carries_holds_hardly_any_honest_picture(model, parts):
    images, labels = parts[2]
    views, known = model.views, model.calibration.groups[""]
    some = pictures(marked(images), labels)
    held = (model.evidence(some).p <= 0.01).mean()
    chances = views.whole.probabilities(model.representation.vectors(some))
    own = chances[np.arange(len(labels)), np.searchsorted(views.whole.labels, labels)]
    alone = (-np.log(own) >= np.sort(known)[-3]).mean()
    assert held <= 0.02 < alone


def test_wrong_labels_are_held_with_a_mark_and_without(model, parts):
    images, labels = parts[2]
    wrong = np.array([str((int(label) + 3) % 10) for label in labels])
    for shown in (images, marked(images)):
        assert (model.evidence(pictures(shown, wrong)).p <= 0.01).mean() > 0.85


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (1, 5, 40), (1, 20, 20)])
def test_each_column_is_left_out_of_a_view_and_no_view_is_empty(shape):
    some = Examples("image", pd.DataFrame({"label": ["a"]}), np.zeros((1, *shape), np.float32))
    fitted = fit_representation(some)
    views = fitted.views()
    assert views.shape == (4, fitted.vectors(some).shape[1])
    assert not views.all(axis=0).any()
    assert views.any(axis=1).all()
