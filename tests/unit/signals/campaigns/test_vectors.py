from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poison_guard.errors import DataError
from poison_guard.records import Campaign
from poison_guard.signals.campaigns.vectors import near_duplicate_vectors
from tests.thorough import also


def sessions(n, seed, *, d=10, shift=0.0, spread=1.0):
    """Correlated, log-normal, mixed-scale features; the third is a count, the fifth rounded to whole numbers."""
    rng = np.random.default_rng(seed)
    loading = np.random.default_rng(99).standard_normal((3, d))
    z = (
        rng.standard_normal((n, 3)) @ loading / np.sqrt((loading**2).sum(axis=0)) * 0.77
        + rng.standard_normal((n, d)) * 0.63
    )
    z = z * spread + shift
    values = np.exp(np.linspace(-1, 6, d) + np.linspace(0.3, 1.0, d) * z)
    values[:, 2] = rng.poisson(np.exp(2.5 + 0.6 * z[:, 2]))
    values[:, 4] = np.round(100 * values[:, 4])
    return values


def replays(values, sizes, jitter, seed):
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(len(sizes)), sizes)
    copies = values[of] * (1 + jitter * rng.standard_normal((len(of), values.shape[1])))
    copies[:, [2, 4]] = np.round(copies[:, [2, 4]])
    return copies, of


def straight(values):
    logs = np.log(np.maximum(values, 0) + 0.5 * (values == np.round(values)))
    trusted = sessions(600, 12345, d=values.shape[1])
    known = np.log(np.maximum(trusted, 0) + 0.5 * (trusted == np.round(trusted)))
    return ((logs - known.mean(axis=0)) / known.std(axis=0)).astype(np.float32)


def frame_of(n, *, sources=None):
    return pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(n)],
            "source_id": pd.Series(sources if sources is not None else [f"s{i}" for i in range(n)]).astype("str"),
            "observed_at": pd.Timestamp("2026-03-01", tz="UTC") + pd.to_timedelta(np.arange(n), unit="s"),
        }
    )


TRUSTED = straight(sessions(600, 12345))
SIZES = [5] * 6 + [8] * 4 + [20] * 3 + [80] * 2


def attacked(n, jitter, seed, d=10):
    honest = sessions(n, seed, d=d)
    copies, of = replays(honest[: len(SIZES)], SIZES, jitter, seed + 1)
    return straight(np.concatenate([honest, copies])), np.r_[np.full(n, -1), of]


def found_rows(campaigns):
    return {int(record[1:]) for campaign in campaigns for record in campaign.record_ids}


@pytest.mark.parametrize(("n", "jitter"), [(2000, 0.0), (2000, 0.05), *also((5000, 0.05))])
def test_replays_from_many_sources_are_found(n, jitter):
    recalls, honest = [], 0
    for seed in range(2):
        vectors, of = attacked(n, jitter, seed)
        held = np.isin(
            np.arange(len(of)), list(found_rows(near_duplicate_vectors(frame_of(len(of)), vectors, trusted=TRUSTED)))
        )
        recalls.append(held[of >= 0].mean())
        honest += int(held[len(SIZES) : n].sum())  # the first rows are those that were replayed
    assert np.mean(recalls) >= 0.98
    assert honest <= 0.001 * 2 * n


def test_each_group_is_one_campaign_with_its_records_sources_and_reason():
    vectors, of = attacked(2000, 0.01, 4)
    campaigns = near_duplicate_vectors(frame_of(len(of)), vectors, trusted=TRUSTED, alpha=0.001)
    assert all(isinstance(c, Campaign) and c.kind == "near_duplicate_vectors" for c in campaigns)
    assert [c.p for c in campaigns] == sorted(c.p for c in campaigns)
    assert all(0 < c.p <= 0.001 and 0 <= c.strength <= 1 for c in campaigns)
    big = max(campaigns, key=lambda c: len(c.record_ids))
    assert big.reason.args["n_records"] == len(big.record_ids) >= 80
    assert big.reason.args["n_sources"] == len(big.source_ids) >= 80
    assert big.first_at < big.last_at
    groups = [{int(of[row]) for row in found_rows([c]) if of[row] >= 0} for c in campaigns]
    assert all(len(group) == 1 for group in groups)


def worlds(seed):
    rng = np.random.default_rng(seed)
    crowd = rng.choice([-1, 1], 10) * rng.uniform(1.5, 3.5, 10)
    match seed % 5:
        case 0:
            return sessions(1500, seed)
        case 1:  # a flash crowd: a third of all in a region nobody was in before
            return np.concatenate([sessions(1000, seed), sessions(500, seed + 1000, shift=crowd)])
        case 2:  # a small crowd, less varied than people are
            return np.concatenate([sessions(1400, seed), sessions(60, seed + 1000, shift=crowd, spread=0.6)])
        case 3:  # everything rounded: exact ties are common
            return np.round(sessions(1500, seed, d=10) ** 0.25)
        case _:  # few features
            return sessions(1500, seed, d=5)


def test_honest_worlds_hold_no_groups():
    wrong = []
    for seed in (0, 1, 2, 3, 4, 5, 8):
        vectors = straight(worlds(seed))
        trusted = TRUSTED if vectors.shape[1] == 10 and seed % 5 != 3 and seed % 2 else None
        wrong += [seed] if near_duplicate_vectors(frame_of(len(vectors)), vectors, trusted=trusted) else []
    assert wrong == []


def test_default_values_that_trusted_sessions_share_are_no_campaign():
    values = sessions(2000, 8)
    values[:80] = 7.0
    known = sessions(600, 12345)
    known[:24] = 7.0
    alone = near_duplicate_vectors(frame_of(2000), straight(values), trusted=TRUSTED)
    shared = near_duplicate_vectors(frame_of(2000), straight(values), trusted=straight(known))
    assert alone
    assert not shared


def test_one_source_that_repeats_itself_is_no_campaign():
    honest = sessions(1000, 3)
    copies, _ = replays(honest[:1], [40], 0.01, 1)
    sources = [f"s{i}" for i in range(1000)] + ["busy"] * 40
    vectors = straight(np.concatenate([honest, copies]))
    assert not near_duplicate_vectors(frame_of(1040, sources=sources), vectors, trusted=TRUSTED)
    assert near_duplicate_vectors(frame_of(1040), vectors, trusted=TRUSTED)


def test_groups_do_not_depend_on_the_order_of_rows():
    vectors, of = attacked(1500, 0.05, 6)
    frame = frame_of(len(of))
    order = np.random.default_rng(0).permutation(len(of))
    there = near_duplicate_vectors(frame, vectors, trusted=TRUSTED)
    back = near_duplicate_vectors(frame.iloc[order].reset_index(drop=True), vectors[order], trusted=TRUSTED)
    assert there
    assert there == back


def test_a_wild_value_does_not_hide_a_group():
    vectors, of = attacked(1500, 0.01, 7)
    wild = np.concatenate([vectors, np.full((30, vectors.shape[1]), 1e6, dtype=np.float32)])
    campaigns = near_duplicate_vectors(frame_of(len(wild)), wild, trusted=TRUSTED)
    assert np.isin(np.flatnonzero(of >= 0), list(found_rows(campaigns))).mean() > 0.9


def test_records_without_a_source_count_each_for_itself():
    vectors, of = attacked(1000, 0.01, 9)
    nameless = frame_of(len(of)).drop(columns="source_id")
    assert near_duplicate_vectors(nameless, vectors, trusted=TRUSTED)


def lose(vectors, share, seed):
    """`vectors` without a random `share` of their cells."""
    return np.where(np.random.default_rng(seed).random(vectors.shape) < share, np.nan, vectors).astype(np.float32)


def test_replays_are_found_over_the_cells_that_they_share():
    vectors, of = attacked(2000, 0.01, 11)
    found = near_duplicate_vectors(frame_of(len(of)), lose(vectors, 0.2, 1), trusted=lose(TRUSTED, 0.2, 2))
    held = np.isin(np.arange(len(of)), list(found_rows(found)))
    assert held[of >= 0].mean() >= 0.9
    assert held[len(SIZES) : 2000].sum() <= 20
    assert not near_duplicate_vectors(frame_of(2000), lose(vectors[:2000], 0.2, 1), trusted=lose(TRUSTED, 0.2, 2))


def test_replays_that_come_drop_by_drop_show_beside_earlier_ones():
    vectors, of = attacked(2000, 0.01, 12)
    frame = frame_of(len(of))
    batch = np.random.default_rng(0).random(len(of)) < 0.1
    now, before = frame[batch].reset_index(drop=True), frame[~batch].reset_index(drop=True)
    alone = near_duplicate_vectors(now, vectors[batch], trusted=TRUSTED)
    found = near_duplicate_vectors(now, vectors[batch], trusted=TRUSTED, earlier=(before, vectors[~batch]))
    of_group = dict(zip(frame["record_id"], of, strict=True))
    large = {group for group in range(len(SIZES)) if SIZES[group] >= 20 and (batch & (of == group)).any()}
    assert large <= {of_group[r] for c in found for r in c.record_ids}
    assert len(found_rows(alone) & set(np.flatnonzero(of >= 0))) < len(found_rows(found) & set(np.flatnonzero(of >= 0)))
    for campaign in found:
        assert campaign.record_ids
        assert set(campaign.record_ids) <= set(now["record_id"])
        assert set(campaign.earlier_ids) <= set(before["record_id"])
    assert sum(len(c.earlier_ids) for c in found) >= 180


def test_earlier_replays_alone_and_earlier_records_without_vectors_say_nothing():
    vectors, of = attacked(1500, 0.01, 13)
    frame, fresh = frame_of(len(of)), frame_of(300).assign(record_id=[f"n{i}" for i in range(300)])
    fresh["source_id"] = [f"t{i}" for i in range(300)]
    batch = straight(sessions(300, 77))
    assert not near_duplicate_vectors(fresh, batch, trusted=TRUSTED, earlier=(frame, vectors))
    assert not near_duplicate_vectors(fresh, batch, trusted=TRUSTED, earlier=(frame, np.full_like(vectors, np.nan)))
    assert not near_duplicate_vectors(fresh, batch, trusted=TRUSTED, earlier=(frame.iloc[:0], vectors[:0]))


def test_a_session_replayed_by_a_third_of_the_batch_is_found():
    honest = sessions(2000, 14)
    copies, _ = replays(honest[:1], [1000], 0.02, 1)
    found = found_rows(
        near_duplicate_vectors(frame_of(3000), straight(np.concatenate([honest, copies])), trusted=TRUSTED)
    )
    assert len(found & set(range(2000, 3000))) >= 900
    assert len(found & set(range(1, 2000))) <= 10


def test_short_sessions_that_agree_on_nothing_having_happened_are_no_campaign():
    def some(n, seed):
        rng, values = np.random.default_rng(seed), sessions(n, seed)
        values[: n // 3] = rng.poisson(0.3, (n // 3, 10)) * np.r_[np.ones(5), np.arange(1, 6) / 10]
        return straight(values)

    for seed in range(2):
        assert not near_duplicate_vectors(frame_of(2000), some(2000, seed), trusted=some(600, seed + 100))


@pytest.mark.parametrize("n", [0, 1, 16, 17])
def test_a_handful_of_records_holds_no_groups(n):
    assert near_duplicate_vectors(frame_of(n), np.zeros((n, 3), dtype=np.float32)) == []


def test_vectors_that_do_not_fit_the_frame_are_an_error():
    with pytest.raises(DataError, match="vectors"):
        near_duplicate_vectors(frame_of(3), np.zeros((4, 2)))
    with pytest.raises(DataError, match="trusted"):
        near_duplicate_vectors(frame_of(20), np.zeros((20, 2)), trusted=np.zeros((40, 3)))
    with pytest.raises(DataError, match="finite"):
        near_duplicate_vectors(frame_of(20), np.full((20, 2), np.inf))
    with pytest.raises(DataError, match="earlier"):
        near_duplicate_vectors(frame_of(20), np.zeros((20, 2)), earlier=(frame_of(5), np.zeros((5, 3))))


def test_vectors_without_any_value_hold_no_groups():
    assert near_duplicate_vectors(frame_of(40), np.full((40, 3), np.nan)) == []
