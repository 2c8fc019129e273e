"""The factory of docs/models.md trains, is saved and read again; what is no factory is refused in a sentence."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from poison_guard.config.policies import RetrainConfig
from poison_guard.errors import ConfigError
from poison_guard.records import Examples
from poison_guard.retrain.train import train_classifier
from poison_guard.retrain.trained_model import predict_probabilities, read_model, write_model
from tests.docs.reference import ROOT

PAGE = (ROOT.parent / "docs" / "models.md").read_text(encoding="utf-8")


def examples(n: int) -> Examples:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(n, 3))
    labels = np.where(table[:, 0] + table[:, 1] > 0, "up", "down")
    frame = pd.DataFrame({"example_id": [str(k) for k in range(n)], "label": labels, "slice": "", "is_new": True})
    return Examples("table", frame, table, ("a", "b", "c"))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (code,) = re.findall(r"```python\n# my_models.py\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / "my_models.py").write_text(
        code + "\n\ndef other(input_shape, n_classes):\n    return 'no module'\n\ndef broken(width):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield re.findall(r'model = "(my_models:\w+)"', PAGE)[0]
    sys.modules.pop("my_models", None)


def test_the_factory_of_the_page_trains_and_its_model_is_read_again(own: str, tmp_path: Path) -> None:
    config = RetrainConfig(model=own, epochs=12, epsilon=0.0)
    model = train_classifier(examples(300), config)
    truth = model.targets(examples(300).frame["label"])
    assert (predict_probabilities(model, examples(300)).argmax(axis=1) == truth).mean() > 0.9
    file, digest = write_model(model, tmp_path)
    again = read_model(file, digest, allow_import=True)
    np.testing.assert_array_equal(
        predict_probabilities(again, examples(20)), predict_probabilities(model, examples(20))
    )


def test_what_is_no_factory_is_refused_in_a_sentence(own: str) -> None:
    for name, said in (
        ("nowhere:factory", "cannot be imported"),
        ("my_models:nothing", "cannot be imported"),
        ("my_models:broken", r"could not be made for inputs of shape \(6,\) and 2 classes: TypeError"),
        ("my_models:other", r"must return a torch.nn.Module, got str"),
    ):
        with pytest.raises(ConfigError, match=said):
            train_classifier(examples(40), RetrainConfig(model=name, epochs=1))
