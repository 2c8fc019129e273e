from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poison_guard.errors import DataError, UsageError
from poison_guard.signals.anomaly.features import FeatureMap, as_words
from poison_guard.signals.anomaly.model import AnomalyModel


def sessions(n, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(n)],
            "feature.dwell": np.exp(rng.normal(6, 0.8, n)),
            "feature.speed": rng.normal(10, 2, n),
            "feature.flag": np.zeros(n),
            "feature.agent": pd.Series(rng.choice(["a", "b", "c"], n, p=[0.6, 0.39, 0.01])).astype("str"),
        }
    )


def column(features, vectors, name):
    return vectors[:, features.columns.index(name)]


def test_numbers_come_out_centred_scaled_and_straight():
    frame = sessions(5000)
    features = FeatureMap().fit(frame)
    vectors = features.transform(frame)
    assert vectors.dtype == np.float32
    assert vectors.shape == (5000, 5)
    for name in ("feature.dwell", "feature.speed"):
        values = column(features, vectors, name)
        low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
        assert middle == pytest.approx(0, abs=1e-6)
        assert values.std() == pytest.approx(1, abs=0.1)
        assert abs(high + low) < 0.3  # 1.7 without the logarithm


def test_rare_categories_are_far_from_common_ones_and_unseen_ones_farthest():
    features = FeatureMap().fit(sessions(1000))
    new = sessions(4).assign(**{"feature.agent": ["a", "b", "c", "never"]})
    a, b, c, never = column(features, features.transform(new), "feature.agent")
    assert a == 0
    assert b < 1.5
    assert c > 3
    assert never > c


def test_an_unseen_value_is_usual_where_almost_every_value_is_new():
    frame = pd.DataFrame({"feature.agent": [f"agent-{i}" for i in range(500)]})
    features = FeatureMap().fit(frame)
    assert features.transform(pd.DataFrame({"feature.agent": ["another"]}))[0, 0] == pytest.approx(0, abs=0.01)


def test_a_missing_number_is_the_median_and_surprising_where_none_was_missing():
    features = FeatureMap().fit(sessions(1000))
    gone = sessions(1)
    gone.loc[0, "feature.speed"] = np.nan
    vectors = features.transform(gone)
    assert column(features, vectors, "feature.speed")[0] == 0
    assert column(features, vectors, "")[0] > 6


def test_a_missing_number_is_usual_where_it_often_is():
    frame = sessions(1000)
    frame.loc[::2, "feature.speed"] = np.nan
    features = FeatureMap().fit(frame)
    assert np.abs(column(features, features.transform(frame), "")).max() < 0.8


def test_a_change_of_a_constant_is_far():
    features = FeatureMap().fit(sessions(1000))
    changed = sessions(1).assign(**{"feature.flag": 1.0})
    assert column(features, features.transform(changed), "feature.flag")[0] > 100


def test_nothing_comes_out_infinite():
    features = FeatureMap().fit(sessions(100))
    wild = sessions(4)
    wild["feature.dwell"] = [np.inf, -np.inf, 1e308, np.nan]
    assert np.isfinite(features.transform(wild)).all()
    empty = FeatureMap().fit(sessions(3).assign(**{"feature.dwell": np.nan}))
    assert np.isfinite(empty.transform(wild)).all()


def test_text_in_a_numeric_column_counts_as_missing_and_numbers_in_a_text_column_as_their_text():
    features = FeatureMap().fit(sessions(300).assign(**{"feature.agent": ["4", "5", "5"] * 100}))
    mixed = sessions(2).astype({"feature.speed": "str"})
    mixed["feature.speed"] = ["10.0", "abc"]
    mixed["feature.agent"] = [4.0, 6.0]
    vectors = features.transform(mixed)
    assert column(features, vectors, "feature.speed")[1] == 0
    assert column(features, vectors, "")[1] > 4
    assert column(features, vectors, "feature.agent")[0] < 2 < column(features, vectors, "feature.agent")[1]


def test_a_row_is_mapped_alike_alone_and_in_company():
    frame = sessions(200)
    features = FeatureMap().fit(frame)
    np.testing.assert_array_equal(features.transform(frame.iloc[[7]])[0], features.transform(frame)[7])


def test_without_features_rows_or_a_known_column_there_is_a_clear_error():
    with pytest.raises(DataError, match="feature columns"):
        FeatureMap().fit(pd.DataFrame({"record_id": ["a"]}))
    with pytest.raises(DataError, match="0 records"):
        FeatureMap().fit(sessions(0))
    with pytest.raises(DataError, match=r"feature\.speed"):
        FeatureMap().fit(sessions(9)).transform(sessions(9).drop(columns="feature.speed"))


def test_records_are_compared_by_what_they_have():
    frame = pd.DataFrame({"feature.speed": [1.0, np.nan, 3.0], "feature.client": ["a", None, "b"]})
    features = FeatureMap().fit(frame)
    compared = features.compared(frame)
    assert compared.shape == (3, 2)
    assert np.isnan(compared).tolist() == [[False, False], [True, False], [False, False]]
    assert compared[:, 1] == pytest.approx(features.transform(frame)[:, 1])


def test_numbers_are_compared_in_proportion_and_near_zero_by_their_difference():
    trusted = pd.DataFrame({"feature.size": np.random.default_rng(0).normal(100, 10, 500)})
    values = [50.0, 55.0, 1000.0, 1100.0, -50.0, -55.0, 0.0, 0.1, 0.2, np.nan, 1e308, np.inf]
    (size,) = FeatureMap().fit(trusted).compared(pd.DataFrame({"feature.size": values})).T
    assert size[1] - size[0] == pytest.approx(np.log(1.1), rel=0.1)
    assert size[3] - size[2] == pytest.approx(np.log(1.1), rel=0.01)
    assert size[4:6] == pytest.approx(-size[:2])
    assert size[8] - size[7] == pytest.approx(size[7] - size[6], rel=0.05)
    assert np.isnan(size[9])
    assert np.isfinite(size[10:]).all()


def mapped(column):
    features = FeatureMap().fit(pd.DataFrame({"feature.a": column}))
    return features, features.transform(pd.DataFrame({"feature.a": column}))


def test_durations_and_numbers_kept_as_objects_are_numbers():
    seconds = np.random.default_rng(4).normal(60, 9, 300)
    _, plain = mapped(seconds)
    np.testing.assert_allclose(mapped(pd.to_timedelta(seconds, unit="s"))[1], plain, atol=1e-4)
    np.testing.assert_array_equal(mapped(pd.Series(list(seconds), dtype=object))[1], plain)


def test_a_cell_is_written_as_text_alike_alone_and_in_company():
    moments = pd.Series([pd.Timestamp("2026-01-05"), pd.Timestamp("2026-01-05 10:00"), pd.NaT])
    assert as_words(moments).to_list()[:2] == ["2026-01-05T00:00:00", "2026-01-05T10:00:00"]
    assert as_words(moments)[:1].to_list() == as_words(moments[:1]).to_list()
    assert as_words(moments).isna().to_list() == [False, False, True]


def test_odd_objects_are_text_and_missing_ones_missing():
    odd = pd.Series([b"\xff", np.array([0.5, 2.0]), {"a": 1}, None, float("nan"), pd.NA], dtype=object)
    assert as_words(odd).to_list()[:3] == ["b'\\xff'", "[0.5, 2.0]", "{'a': 1}"]
    assert as_words(odd).isna().sum() == 3


def test_complex_numbers_and_a_map_that_was_not_fitted_are_clear_errors():
    with pytest.raises(DataError, match=r"feature\.a.*complex"):
        mapped([1j, 2.0])
    with pytest.raises(UsageError, match="not fitted"):
        FeatureMap().transform(sessions(3))


def mixed(n, seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, 5)).round(3)
    return pd.DataFrame(
        {
            "feature.size": rng.random(n),
            "feature.embedding": [str(v.tolist()) for v in vectors],
            "feature.born": pd.date_range("2026-01-05", periods=n, freq="31min", tz="UTC").map(pd.Timestamp.isoformat),
            "feature.kind": rng.choice(["a", "b"], n),
        }
    )


def test_embeddings_and_moments_become_numbers_and_other_text_stays_a_name():
    fitted = FeatureMap().fit(mixed(300))
    assert [fitted.columns.count(f"feature.{name}") for name in ("size", "embedding", "born", "kind")] == [1, 5, 4, 1]
    told = fitted.transform(mixed(20, seed=1))
    assert told.shape == (20, 12)
    assert np.isfinite(told).all()


def test_a_broken_embedding_is_missing_and_that_is_surprising():
    fitted, batch = FeatureMap().fit(mixed(300)), mixed(3, seed=1)
    batch["feature.embedding"] = [batch["feature.embedding"][0], "[1, 2", None]
    told = fitted.transform(batch)
    assert told[1, -1] > told[0, -1] + 3
    assert told[2, -1] == told[1, -1]
    assert np.isnan(fitted.compared(batch)[1]).sum() == 5


def test_an_embedding_unlike_the_trusted_ones_is_strange_and_named():
    batch = mixed(50, seed=1)
    batch.loc[:9, "feature.embedding"] = [str([9.0, -9.0, 9.0, -9.0, float(i)]) for i in range(10)]
    evidence = AnomalyModel.fit(mixed(400), mixed(300, seed=2), device="cpu").evidence(batch)
    assert evidence.p[:10].max() <= 0.01
    assert evidence.p[10:].mean() > 0.3
    assert {"embedding"} <= {name for row in range(10) for name in evidence.reasons[row].args["features"]}


def test_lists_of_many_lengths_are_sequences_read_by_their_parts():
    rng = np.random.default_rng(0)
    paths = [np.round(np.cumsum(rng.normal(size=n)), 3) for n in rng.integers(20, 80, 300)]
    frame = pd.DataFrame({"feature.path": [str(path.tolist()) for path in paths]})
    fitted = FeatureMap().fit(frame)
    again = paths[0] * (1 + 0.05 * rng.normal(size=len(paths[0])))
    batch = pd.DataFrame(
        {"feature.path": [str(paths[0].tolist()), str(np.delete(again, 7).tolist()), "[1]", "[]", None]}
    )
    seen = fitted.compared(batch)
    assert seen.shape == (5, 9)
    assert np.isnan(seen).all(axis=1).tolist() == [False, False, False, True, True]
    everybody = np.linalg.norm(fitted.compared(frame) - seen[0], axis=1)
    assert np.linalg.norm(seen[1] - seen[0]) < np.sort(everybody)[1]
