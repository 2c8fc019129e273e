import numpy as np
import pandas as pd
import pytest

from poison_guard.signals.campaigns import merge_campaigns, near_duplicate_text, sketch_text

ALPHA = 0.001
START = pd.Timestamp("2025-03-01", tz="UTC")
WORDS = [f"{a}{b}{c}" for a in ("ba", "ke", "lo", "mi", "nu", "sta") for b in ("r", "nd", "ss", "l") for c in "aeioy"]


def edited(text, rate, rng, vocabulary):
    """Return `text` with each word swapped, followed by another, dropped or replaced at `rate`."""
    words, out, k = text.split(), [], 0
    while k < len(words):
        kind = rng.integers(4) if rng.random() < rate else -1
        other = vocabulary[rng.integers(len(vocabulary))]
        if kind == 0 and k + 1 < len(words):
            out += [words[k + 1], words[k]]
            k += 1
        elif kind == 1:
            out += [words[k], other]
        elif kind == 3:
            out.append(other)
        elif kind != 2:
            out.append(words[k])
        k += 1
    return " ".join(out)


def board(texts, rng, *, new=0.15, age=None, seconds=None, prefix="r"):
    """Return one message a text, each by its own speaker, over a month; `new` of the accounts are under 30 days old."""
    n = len(texts)
    seconds = rng.uniform(0, 30 * 86400, n) if seconds is None else seconds
    days = np.where(rng.random(n) < new, rng.uniform(0, 25, n), rng.uniform(31, 1000, n)) if age is None else age
    at = pd.Series(START + pd.to_timedelta(seconds, unit="s"))
    return pd.DataFrame(
        {
            "record_id": [f"{prefix}{k}" for k in range(n)],
            "speaker": [f"{prefix}-u{k}" for k in range(n)],
            "observed_at": at,
            "source_since": at - pd.to_timedelta(days, unit="D"),
            "text": texts,
        }
    )


def sentences(n, rng):
    return [" ".join(rng.choice(WORDS, rng.integers(8, 20))) for _ in range(n)]


def held(frame, alpha=ALPHA):
    campaigns = merge_campaigns(near_duplicate_text(frame, sketch_text(frame["text"]), alpha=alpha))
    records = {record for campaign in campaigns for record in campaign.record_ids}
    return frame["record_id"].isin(records).to_numpy(), campaigns


def with_campaign(texts, rng, *, background=400, age=None, seconds=None):
    """Return a board of clean messages followed by `texts`, by new accounts within an hour unless told."""
    age = rng.uniform(0, 20, len(texts)) if age is None else age
    seconds = rng.uniform(0, 3600, len(texts)) + 1e6 if seconds is None else seconds
    clean = board(sentences(background, rng), rng)
    return pd.concat([clean, board(texts, rng, age=age, seconds=seconds, prefix="c")], ignore_index=True)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "least"), [(0.1, 0.99), (0.3, 0.95)])
def test_paraphrased_campaigns_among_real_tweets_are_found(public_data, rate, least):
    tweets = pd.read_csv(public_data / "messages" / "tweets-davidson.csv")["tweet"].tolist()
    vocabulary = sorted({word for tweet in tweets[:5000] for word in tweet.split()})
    rng = np.random.default_rng(7)
    origins = [k for k in rng.permutation(len(tweets)) if len(tweets[k].split()) >= 8][:20]
    copies = [edited(tweets[k], rate, rng, vocabulary) for k in origins for _ in range(50)]
    seconds = np.repeat(rng.uniform(0, 29 * 86400, 20), 50) + rng.uniform(0, 3600, 1000)
    pushed = board(copies, rng, age=rng.uniform(0, 20, 1000), seconds=seconds, prefix="c")
    frame = pd.concat([board(tweets, rng), pushed], ignore_index=True)
    taken, campaigns = held(frame)
    assert taken[len(tweets) :].mean() >= least
    assert taken[: len(tweets)].mean() <= 0.005
    assert len(campaigns) == 20


@pytest.mark.slow
def test_real_tweets_by_themselves_are_no_campaign(public_data):
    tweets = pd.read_csv(public_data / "messages" / "tweets-davidson.csv")["tweet"].tolist()
    taken, _ = held(board(tweets, np.random.default_rng(1)))
    assert not taken.any()


def test_the_reason_counts_messages_accounts_and_minutes():
    rng = np.random.default_rng(0)
    text = " ".join(WORDS[:14])
    frame = with_campaign([text] * 46, rng, seconds=1e6 + np.linspace(0, 720, 46))
    frame.loc[frame.index[-6:], "speaker"] = frame["speaker"].iloc[-7]
    frame.loc[frame.index[-6:], "source_since"] = frame["source_since"].iloc[-7]
    taken, campaigns = held(frame)
    assert taken[400:].all()
    assert not taken[:400].any()
    args = campaigns[0].reason.args
    assert campaigns[0].reason.code == "near_duplicate_text"
    assert args == {"n_records": 46, "n_sources": 40, "new_sources": 40, "minutes": 11}
    assert campaigns[0].strength == 1
    assert len(campaigns[0].source_ids) == 40


def test_case_spacing_and_invisible_characters_do_not_hide_a_copy():
    rng = np.random.default_rng(1)
    text = "please repeat after me the owls are not what they seem tonight"
    variants = [text.upper(), text.replace(" ", "   "), "\u200b".join(text), text.title(), text.replace("e", "é")] * 3
    taken, _ = held(with_campaign(variants, rng))
    assert taken[400:].all()


def held_items(frame, share):
    """Return the texts held of `frame`, of which two in three have 30 raters within minutes, and the others one."""
    raters = np.where(np.arange(len(frame)) % 3 == 0, 1, 30)
    votes = frame.loc[frame.index.repeat(raters)].reset_index(drop=True)
    at = votes["observed_at"] + pd.to_timedelta(votes.groupby("record_id").cumcount() * 5, unit="s")
    votes = votes.assign(item_id=votes["record_id"], observed_at=at, source_since=pd.NaT)
    votes["record_id"] = [f"v{k}" for k in range(len(votes))]
    votes["speaker"] = [f"rater{k}" for k in np.random.default_rng(5).integers(0, 90, len(votes))]
    found = near_duplicate_text(votes, sketch_text(votes["text"]), alpha=ALPHA, rated=share)
    records = {record for campaign in found for record in campaign.record_ids}
    return set(votes.loc[votes["record_id"].isin(records), "item_id"])


def test_many_raters_of_one_text_did_not_write_it_and_copies_of_it_are_counted_by_item():
    rng = np.random.default_rng(4)
    honest = board(sentences(120, rng), rng)
    assert len(held_items(honest, None)) > 60  # taken for people who copy what they rate
    assert not held_items(honest, 0.0)
    assert not held_items(honest, 0.5)
    pasted = board([" ".join(WORDS[:14])] * 30, rng, seconds=1e6 + rng.uniform(0, 600, 30), prefix="c")
    assert held_items(pd.concat([honest, pasted], ignore_index=True), 0.5) == set(pasted["record_id"])


def test_a_campaign_of_reviews_of_one_thing_is_no_rated_text():
    rng = np.random.default_rng(6)
    honest = board(sentences(300, rng), rng).assign(item_id=[f"i{k}" for k in range(300)])
    at, age = 1e6 + rng.uniform(0, 600, 40), rng.uniform(0, 20, 40)
    spam = board([" ".join(WORDS[:14])] * 40, rng, age=age, seconds=at, prefix="c").assign(item_id="i0")
    frame = pd.concat([honest, spam], ignore_index=True)
    sketches = sketch_text(frame["text"])
    (found,) = near_duplicate_text(frame, sketches, alpha=ALPHA, rated=0.5)
    assert len(found.record_ids) == 40
    comments = frame.assign(item_id=[f"i{k % 20}" for k in range(len(frame))])  # one thing, many texts
    for share in (0.0, 0.5):
        (found,) = near_duplicate_text(comments, sketches, alpha=ALPHA, rated=share)
        assert len(found.record_ids) == 40


def test_a_joke_that_aged_accounts_copy_for_hours_passes():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        new = rng.random(200) < 0.15
        age = np.where(new, rng.uniform(0, 25, 200), rng.uniform(31, 1000, 200))
        jokes = [edited(" ".join(WORDS[20:34]), 0.05, rng, WORDS) for _ in range(200)]
        taken, _ = held(with_campaign(jokes, rng, age=age, seconds=1e6 + rng.exponential(4 * 3600, 200)))
        assert not taken.any()


def test_half_aged_accounts_do_not_hide_a_campaign():
    rng = np.random.default_rng(2)
    age = np.r_[rng.uniform(0, 20, 25), rng.uniform(60, 900, 25)]
    taken, _ = held(with_campaign([edited(" ".join(WORDS[:14]), 0.1, rng, WORDS) for _ in range(50)], rng, age=age))
    assert taken[400:].mean() > 0.95


def test_short_greetings_are_alike_by_nature():
    rng = np.random.default_rng(3)
    taken, _ = held(with_campaign(["hi all"] * 60, rng))
    assert not taken.any()


def test_many_rows_about_one_message_are_one_message():
    rng = np.random.default_rng(4)
    frame = with_campaign([" ".join(WORDS[:14])] * 50, rng)
    frame["item_id"] = frame["record_id"]
    frame.loc[frame.index[400:], ["item_id", "speaker"]] = "one"
    assert not held(frame)[0].any()


def test_one_speaker_who_repeats_himself_is_no_campaign():
    rng = np.random.default_rng(5)
    frame = with_campaign([" ".join(WORDS[:14])] * 50, rng)
    frame.loc[frame.index[400:], "speaker"] = "one"
    assert not held(frame)[0].any()


def test_without_ages_a_burst_decides():
    rng = np.random.default_rng(6)
    text = " ".join(WORDS[:14])
    fast = with_campaign([text] * 40, rng).assign(source_since=pd.NaT)
    slow = with_campaign([text] * 40, rng, seconds=rng.uniform(0, 30 * 86400, 40)).drop(columns="source_since")
    assert held(fast)[0][400:].all()
    assert not held(slow)[0].any()


def test_where_every_account_is_new_a_burst_decides():
    rng = np.random.default_rng(7)
    text = "one two three four five six seven eight nine ten"
    fast = with_campaign([text] * 40, rng)
    slow = with_campaign([text] * 40, rng, seconds=rng.uniform(0, 30 * 86400, 40))
    fast, slow = (f.assign(source_since=f["observed_at"] - pd.Timedelta(days=3)) for f in (fast, slow))
    assert held(fast)[0][-40:].all()
    assert not held(slow)[0].any()


def test_row_order_changes_nothing():
    rng = np.random.default_rng(7)
    frame = with_campaign([edited(" ".join(WORDS[:14]), 0.1, rng, WORDS) for _ in range(40)], rng)
    once = held(frame)[1]
    again = held(frame.sample(frac=1, random_state=5).reset_index(drop=True))[1]
    assert [(c.campaign_id, c.p, c.reason) for c in once] == [(c.campaign_id, c.p, c.reason) for c in again]


def test_missing_texts_and_no_texts_give_nothing():
    rng = np.random.default_rng(8)
    frame = board(sentences(20, rng), rng)
    frame["text"] = pd.Series([None] * 20, dtype="str")
    assert not held(frame)[0].any()
    assert near_duplicate_text(frame.iloc[:0], sketch_text(frame["text"].iloc[:0]), alpha=ALPHA) == []


def split(frame, rng, share=0.5):
    """Return this batch and the earlier one, the copies divided over both, each with its sketches."""
    before = rng.random(len(frame)) < share
    batch, past = frame[~before].reset_index(drop=True), frame[before].reset_index(drop=True)
    return batch, sketch_text(batch["text"]), (past.drop(columns="text"), sketch_text(past["text"]))


def test_a_campaign_over_batches_names_its_earlier_members():
    rng = np.random.default_rng(9)
    frame = with_campaign([edited(" ".join(WORDS[:14]), 0.1, rng, WORDS) for _ in range(40)], rng)
    batch, sketches, earlier = split(frame, rng)
    found = near_duplicate_text(batch, sketches, alpha=ALPHA, earlier=earlier)
    assert len(found) == 1
    assert set(found[0].record_ids) <= set(batch["record_id"])
    assert set(found[0].earlier_ids) <= set(earlier[0]["record_id"])
    assert len(found[0].record_ids + found[0].earlier_ids) >= 38
    assert all(name.startswith("c") for name in found[0].record_ids + found[0].earlier_ids)
    assert found[0].reason.args["n_records"] == len(found[0].record_ids + found[0].earlier_ids)


def test_four_late_copies_are_found_by_what_was_said_before():
    rng = np.random.default_rng(10)
    frame = with_campaign([" ".join(WORDS[:14])] * 44, rng)
    late = frame.index[-4:]
    batch = pd.concat([frame.iloc[:100], frame.loc[late]], ignore_index=True)
    past = frame.iloc[100:-4].reset_index(drop=True)
    alone = near_duplicate_text(batch, sketch_text(batch["text"]), alpha=ALPHA)
    found = near_duplicate_text(
        batch, sketch_text(batch["text"]), alpha=ALPHA, earlier=(past, sketch_text(past["text"]))
    )
    assert alone == []
    assert sorted(found[0].record_ids) == sorted(frame.loc[late, "record_id"])
    assert len(found[0].earlier_ids) == 40


def test_a_campaign_of_earlier_batches_alone_is_not_found_again():
    rng = np.random.default_rng(11)
    past = with_campaign([" ".join(WORDS[:14])] * 40, rng)
    batch = board(sentences(50, rng), rng, prefix="b")
    earlier = (past, sketch_text(past["text"]))
    assert near_duplicate_text(batch, sketch_text(batch["text"]), alpha=ALPHA, earlier=earlier) == []


def test_a_record_that_is_delivered_again_counts_once():
    rng = np.random.default_rng(12)
    frame = with_campaign([" ".join(WORDS[:14])] * 40, rng)
    sketches = sketch_text(frame["text"])
    once = near_duplicate_text(frame, sketches, alpha=ALPHA)
    again = near_duplicate_text(frame, sketches, alpha=ALPHA, earlier=(frame, sketches))
    assert [(c.record_ids, c.earlier_ids, c.p) for c in again] == [(c.record_ids, (), c.p) for c in once]


def test_a_slogan_of_a_crowd_of_newcomers_passes():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        clean, hour = board(sentences(600, rng), rng), 1e6 + rng.uniform(0, 3600, 300)
        said = [" ".join(WORDS[20:34]) if k < 40 else sentences(1, rng)[0] for k in range(300)]
        age = np.where(rng.random(300) < 0.7, rng.uniform(0, 2, 300), rng.uniform(31, 900, 300))
        frame = pd.concat([clean, board(said, rng, age=age, seconds=hour, prefix="n")], ignore_index=True)
        assert not held(frame)[0].any()


def test_formulaic_messages_are_not_taken_for_one_campaign_of_all():
    rng = np.random.default_rng(13)
    forms = [sentences(1, rng)[0] for _ in range(6)]
    said = [f"{forms[rng.integers(6)]} {forms[rng.integers(6)]} {sentences(1, rng)[0]}" for _ in range(600)]
    frame = pd.concat([board(said, rng), with_campaign([" ".join(WORDS[:14])] * 40, rng, background=1)])
    taken, _ = held(frame.reset_index(drop=True))
    assert taken[-40:].all()
    assert taken[:600].mean() <= 0.01


def test_where_nearly_every_text_comes_again_an_attack_of_aged_accounts_is_not_what_newcomers_are_compared_with():
    rng = np.random.default_rng(21)
    copied = board(np.repeat(sentences(20, rng), 40).tolist(), rng)
    once = board(sentences(60, rng), rng, age=rng.uniform(90, 900, 60), prefix="c")
    assert not held(pd.concat([copied, once], ignore_index=True))[0].any()


@pytest.mark.parametrize(("pasted", "hours", "found"), [(False, 600, 1), (True, 600, 0), (True, 1, 1)])
def test_a_licence_that_old_and_new_accounts_paste_at_any_time_is_no_campaign_among_documents(pasted, hours, found):
    rng = np.random.default_rng(22)
    age = np.where(np.arange(60) % 2, rng.uniform(0, 20, 60), rng.uniform(60, 900, 60))
    terms = [" ".join(rng.permutation(sentences(1, rng)[0].split() * 2)[:4]) for _ in range(60)]
    licence = [f"{sentences(1, np.random.default_rng(1))[0]} {own}" for own in terms]
    frame = with_campaign(licence, rng, age=age, seconds=rng.uniform(0, hours * 3600, 60))
    campaigns = near_duplicate_text(frame, sketch_text(frame["text"]), alpha=ALPHA, pasted=pasted)
    assert len(campaigns) == found
