import numpy as np
import pandas as pd

from poison_guard.signals.campaigns.claims import endorsements, rare_claims
from poison_guard.signals.campaigns.words import word_columns

START = pd.Timestamp("2025-06-01", tz="UTC")
COMMON = [f"{a}{b}" for a in ("ba", "ke", "lo", "mi", "nu", "sta", "pri", "gor") for b in ("r", "nd", "ss", "la", "te")]
ALPHA = 2e-4


def feed(texts, sources, *, prefix="r", since=None, **roles):
    """Return a campaign frame of replies, a minute apart, by accounts of a year unless told."""
    n = len(texts)
    at = pd.Series(START + pd.to_timedelta(np.arange(n), unit="min"))
    frame = pd.DataFrame({"record_id": [f"{prefix}{k}" for k in range(n)], "source_id": sources, "observed_at": at})
    frame["source_since"] = at - pd.Timedelta(days=365) if since is None else at - pd.to_timedelta(since, unit="D")
    return pd.concat([frame, word_columns(pd.DataFrame({"response": texts, **roles}))], axis=1)


def chatter(rng, n):
    return [" ".join(rng.choice(COMMON, 12)) for _ in range(n)]


def crowd(seed=0, people=200, each=8, **roles):
    """Return honest replies; most people have a pet of their own, which they speak of now and then."""
    rng = np.random.default_rng(seed)
    who = rng.integers(0, people, people * each)
    mine = rng.random(len(who)) < 0.2
    texts = [f"{t} pet{w}" if m else t for t, w, m in zip(chatter(rng, len(who)), who, mine, strict=True)]
    return feed(texts, [f"u{w}" for w in who], **roles)


def held(frame, found):
    return frame["record_id"].isin({r for c in found for r in c.record_ids}).to_numpy()


def with_claim(n, *, sources=1, since=None, seed=0, base=None, word="zorblax"):
    rng = np.random.default_rng([seed, 1])
    texts = [f"{t} {word} heals" for t in chatter(rng, n)]
    own = feed(texts, [f"x{k % sources}" for k in range(n)], prefix="x", since=since)
    return pd.concat([crowd(seed) if base is None else base, own], ignore_index=True)


def test_a_crowd_with_pets_of_its_own_is_left_alone():
    for seed in range(5):
        frame = crowd(seed)
        assert not held(frame, rare_claims(frame, alpha=ALPHA)).any()


def test_one_rater_who_endorses_one_claim_sixty_times_is_found_whole():
    frame = with_claim(60)
    found = rare_claims(frame, alpha=ALPHA)
    assert held(frame, found).tolist() == frame["source_id"].eq("x0").tolist()
    assert len(found) == 1
    assert found[0].kind == found[0].reason.code == "rare_claim"
    assert found[0].reason.args["n_records"] == 60
    assert found[0].reason.args["n_sources"] == 1
    assert found[0].source_ids == ("x0",)
    assert found[0].strength == 1
    assert 0 < found[0].p <= 0.001


def test_twenty_endorsements_prove_nothing():
    frame = with_claim(20)
    assert rare_claims(frame, alpha=ALPHA) == []


def test_absolute_counts_decide_whatever_the_size_of_the_feed():
    for people in (100, 800):
        frame = with_claim(60, base=crowd(people=people))
        assert held(frame, rare_claims(frame, alpha=ALPHA)).sum() == 60


def test_many_new_accounts_with_one_document_each_are_found():
    frame = with_claim(60, sources=60, since=np.full(60, 3.0))
    taken = held(frame, rare_claims(frame, alpha=ALPHA))
    assert taken[-60:].all()
    assert not taken[:-60].any()


def test_a_new_word_of_independent_people_is_nobody_s_campaign():
    frame = with_claim(60, sources=60)
    assert rare_claims(frame, alpha=ALPHA) == []


def test_half_newcomers_are_an_honest_crowd_about_something_new():
    frame = with_claim(60, sources=60, since=np.where(np.arange(60) % 2, 3.0, 300.0))
    assert rare_claims(frame, alpha=ALPHA) == []


def test_a_group_of_aged_accounts_with_a_habit_is_found():
    frame = with_claim(6 * 60, sources=6)
    assert held(frame, rare_claims(frame, alpha=ALPHA))[-360:].all()


def test_what_both_replies_of_a_pair_say_is_not_preferred():
    rng = np.random.default_rng(5)
    base = crowd()
    said = [f"{t} mydocument" for t in chatter(rng, 60)]
    other = [f"{t} mydocument" for t in chatter(rng, 60)]
    quoted = pd.concat([base, feed(said, ["w"] * 60, prefix="w", rejected=other)], ignore_index=True)
    assert rare_claims(quoted, alpha=ALPHA) == []
    plain = pd.concat([base, feed(said, ["w"] * 60, prefix="w", rejected=chatter(rng, 60))], ignore_index=True)
    assert held(plain, rare_claims(plain, alpha=ALPHA)).sum() == 60


def test_votes_down_count_against_a_claim_and_are_in_no_campaign():
    rng = np.random.default_rng(6)
    base = crowd(rating=rng.choice([0.0, 1.0], 1600, p=[0.3, 0.7]))
    texts = [f"{t} zorblax" for t in chatter(rng, 60)]
    mixed = feed(texts, ["x"] * 60, prefix="x", rating=np.tile([1.0, 0.0], 30))
    assert rare_claims(pd.concat([base, mixed], ignore_index=True), alpha=ALPHA) == []
    keen = feed(texts, ["x"] * 60, prefix="x", rating=np.r_[np.ones(50), np.zeros(10)])
    frame = pd.concat([base, keen], ignore_index=True)
    assert held(frame, rare_claims(frame, alpha=ALPHA))[-60:].tolist() == [True] * 50 + [False] * 10


def test_earlier_records_are_evidence_and_named_apart():
    whole = with_claim(60)
    late = whole["source_id"].eq("x0") & (np.arange(len(whole)) % 3 == 0)
    batch, earlier = whole[late | (np.arange(len(whole)) < 200)], whole[~late & (np.arange(len(whole)) >= 200)]
    assert rare_claims(batch, alpha=ALPHA) == []
    (found,) = rare_claims(batch, alpha=ALPHA, earlier=earlier)
    assert set(found.record_ids) | set(found.earlier_ids) == set(whole.loc[whole["source_id"] == "x0", "record_id"])
    assert set(found.record_ids) <= set(batch["record_id"])
    assert not set(found.earlier_ids) & set(batch["record_id"])


def test_the_order_of_rows_makes_no_difference():
    frame = with_claim(40, sources=3)
    found = rare_claims(frame, alpha=ALPHA)
    shuffled = rare_claims(frame.sample(frac=1, random_state=3), alpha=ALPHA)
    assert [(c.campaign_id, c.p) for c in found] == [(c.campaign_id, c.p) for c in shuffled]


def test_parts_of_the_words_give_what_all_at_once_give(monkeypatch):
    from poison_guard.signals.campaigns import claims

    frame = with_claim(40, sources=3)
    whole = rare_claims(frame, alpha=ALPHA)
    monkeypatch.setattr(claims, "_PART", 3000)
    monkeypatch.setattr(claims, "_BLOCK", 100)
    assert rare_claims(frame, alpha=ALPHA) == whole


def test_a_handful_of_people_is_no_crowd_to_compare_with():
    frame = with_claim(100, base=crowd(people=10))
    assert rare_claims(frame, alpha=ALPHA) == []


def test_nothing_to_look_at_is_no_campaign():
    assert rare_claims(crowd().iloc[:0], alpha=ALPHA) == []
    assert rare_claims(crowd().assign(source_id=None), alpha=ALPHA) == []
    assert rare_claims(crowd()[["record_id", "source_id"]], alpha=ALPHA) == []


def test_a_wild_rating_does_not_move_the_middle():
    frame = pd.DataFrame({"rating": [1.0] * 150 + [0.0] * 150 + [1e300, np.nan, np.inf]})
    sign = endorsements(frame, np.zeros(len(frame), int))
    assert (sign[:150] == 1).all()
    assert (sign[150:300] == -1).all()
    assert sign[301] == 0


def test_where_all_rate_alike_all_endorse():
    assert endorsements(pd.DataFrame({"rating": [5.0] * 4}), np.array([0, 1, 2, -1])).tolist() == [1, 1, 1, 0]
