from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

from poison_guard.config import load_contract
from poison_guard.drills.demo import shipped
from poison_guard.drills.world import Origin, World
from poison_guard.drills.worlds import WORLDS, captcha, chat, make_world, telemetry
from poison_guard.errors import NotFoundError


@functools.cache
def world(name: str, seed: int = 0) -> World:
    return make_world(name, seed)


@pytest.fixture(params=WORLDS)
def any_world(request: pytest.FixtureRequest) -> World:
    return world(request.param)


def records_of(drawn: World, origin: Origin) -> pd.DataFrame:
    return drawn.records[drawn.truth["origin"].eq(origin).to_numpy()]


def test_a_seed_gives_the_same_world_twice_and_another_seed_another(any_world):
    again, other = make_world(any_world.name, 0), make_world(any_world.name, 1)
    pd.testing.assert_frame_equal(any_world.records, again.records)
    pd.testing.assert_frame_equal(any_world.trusted, again.trusted)
    pd.testing.assert_frame_equal(any_world.truth, again.truth)
    assert not any_world.records.head(100).equals(other.records.head(100))


def test_truth_and_records_go_row_by_row(any_world):
    assert list(any_world.truth["record_id"]) == list(any_world.role("record_id"))
    assert any_world.truth["record_id"].is_unique
    assert not (any_world.truth["attack"] & any_world.truth["honest"]).any()


def test_the_truth_of_an_honest_record_is_what_its_item_truly_is(any_world):
    if any_world.item_truth is not None:
        label = any_world.item_truth.set_index("item_id")["label"].reindex(any_world.role("item_id"))
        assert (any_world.truth["label"].to_numpy() == label.to_numpy()).all()
    told = any_world.role("answer" if "answer" in any_world.columns else "label").to_numpy()
    false = any_world.truth["label"].to_numpy() != told
    assert false[any_world.truth["attack"]].all()
    assert false[any_world.truth["honest"]].mean() < 0.06


def test_fresh_examples_are_in_neither_the_feed_nor_the_trusted_set(any_world):
    fresh = any_world.fresh
    assert len(fresh) >= 300
    if any_world.name == "captcha":
        seen = {bytes(pixels) for pixels in any_world.items["pixels"]}
        assert not seen & {bytes(pixels) for pixels in fresh["pixels"]}
        return
    columns = [any_world.columns["text"]] if any_world.name == "chat" else list(any_world.features)
    seen = pd.concat([any_world.records, any_world.trusted])[columns].drop_duplicates()
    assert fresh[columns].merge(seen, on=columns).empty


def test_fresh_examples_say_what_the_attacker_wants_of_which(any_world):
    fresh, attack = any_world.fresh, any_world.fresh["attack"]
    told = any_world.role("answer" if "answer" in any_world.columns else "label")
    assert 0.05 < attack.mean() < 0.3
    assert set(fresh.loc[attack, "attack_label"]) <= set(told[any_world.truth["attack"]])
    assert (fresh.loc[attack, "attack_label"] != fresh.loc[attack, "label"]).all()
    assert fresh.loc[~attack, "attack_label"].eq("").all()
    assert set(fresh["label"]) == set(any_world.truth["label"])


def test_records_come_in_the_order_of_time(any_world):
    assert any_world.role("observed_at").is_monotonic_increasing


def test_accounts_are_made_before_they_act(any_world):
    assert (any_world.role("source_since") <= any_world.role("observed_at")).all()


def test_the_trusted_set_is_large_and_shares_no_record_and_no_source_with_the_feed(any_world):
    assert len(any_world.trusted) >= 1000
    for role in ("record_id", "source_id"):
        column = any_world.columns[role]
        assert not set(any_world.trusted[column]) & set(any_world.records[column])
    assert list(any_world.trusted.columns) == list(any_world.records.columns)


def test_the_shipped_contract_names_the_columns_of_its_world(any_world):
    contract = load_contract(shipped("feeds", f"{any_world.name}.toml"))
    assert dict(contract.columns) == dict(any_world.columns)
    assert contract.features == any_world.features
    assert {*contract.columns.values(), *contract.features} == set(any_world.records.columns)


def test_no_id_tells_an_attacker_from_an_honest_source(any_world):
    honest = any_world.source_truth["honest"].to_numpy()
    rank = any_world.source_truth["source_id"].rank(pct=True).to_numpy()
    assert abs(rank[honest].mean() - rank[~honest].mean()) < 0.2
    assert len(set(any_world.source_truth["source_id"].str.len())) == 1


def test_most_attackers_are_new_accounts_and_most_honest_ones_are_not(any_world):
    age = any_world.role("observed_at") - any_world.role("source_since")
    first = pd.DataFrame({"source_id": any_world.role("source_id"), "age": age}).groupby("source_id")["age"].min()
    new = first.reindex(any_world.source_truth["source_id"]).to_numpy() < np.timedelta64(8, "D")
    honest = any_world.source_truth["honest"].to_numpy()
    assert new[~honest].mean() > 0.7
    assert 0.02 < new[honest].mean() < 0.35


def test_people_sleep_at_night(any_world):
    honest = records_of(any_world, Origin.HONEST)
    hours = honest[any_world.columns["observed_at"]].dt.hour
    assert (hours.between(1, 4)).mean() < 0.5 * hours.between(18, 21).mean()


def test_a_few_people_do_much_of_the_work(any_world):
    counts = records_of(any_world, Origin.HONEST)[any_world.columns["source_id"]].value_counts()
    assert counts.head(len(counts) // 10).sum() > 0.25 * counts.sum()


def test_an_unknown_world_is_named_with_the_known_ones():
    with pytest.raises(NotFoundError, match="captcha, chat, telemetry"):
        make_world("voice", 0)


def test_captcha_pushes_one_digit_to_another_some_back_and_answers_everything_else_right():
    drawn = world("captcha")
    label = drawn.item_truth.set_index("item_id")["label"]
    control = set(drawn.controls["item_id"])
    pushes, rest = records_of(drawn, Origin.POISON), records_of(drawn, Origin.CAMOUFLAGE)
    first, other = captcha.PARAMS["attack_from"], captcha.PARAMS["attack_to"]
    true = label[pushes["image_id"]].to_numpy()
    assert (pushes["answer"].to_numpy() == np.where(true == first, other, first)).all()
    unknown = drawn.item_truth[~drawn.item_truth["control"]]
    pushed = unknown["item_id"].isin(pushes["image_id"]).groupby(unknown["label"]).mean()
    assert pushed[first] > 0.9
    assert pushed[other] == pytest.approx(captcha.PARAMS["attack_back"], abs=0.03)
    assert pushed.drop([first, other]).eq(0).all()
    assert not control & set(pushes["image_id"])
    assert (rest["answer"].to_numpy() == label[rest["image_id"]].to_numpy()).all()
    assert control & set(rest["image_id"])


def test_captcha_answers_of_honest_people_err_more_on_unclear_images():
    drawn = world("captcha")
    honest = records_of(drawn, Origin.HONEST)
    label = drawn.item_truth.set_index("item_id")["label"]
    wrong = honest["answer"].to_numpy() != label[honest["image_id"]].to_numpy()
    assert 0.02 < wrong.mean() < 0.06
    by_image = pd.Series(wrong).groupby(honest["image_id"].to_numpy()).mean().sort_values()
    assert by_image.tail(len(by_image) // 10).mean() > 5 * wrong.mean()


def test_chat_sybils_outvote_honest_flaggers_on_most_campaign_messages():
    drawn = world("chat")
    votes = drawn.records[drawn.records["message_id"].isin(records_of(drawn, Origin.POISON)["message_id"])]
    fine = votes["flag"].eq("fine").groupby(votes["message_id"]).mean()
    assert (fine > 0.5).mean() > 0.75
    assert len(fine) == chat.PARAMS["attack_templates"] * chat.PARAMS["attack_copies"]


def test_chat_campaign_messages_are_hardly_ever_word_for_word_the_same():
    drawn = world("chat")
    texts = records_of(drawn, Origin.POISON).drop_duplicates("message_id")["text"]
    assert texts.duplicated(keep=False).mean() < 0.1


def test_chat_honest_messages_are_diverse_but_stock_phrases_and_a_meme_recur():
    drawn = world("chat")
    messages = records_of(drawn, Origin.HONEST).drop_duplicates("message_id")["text"]
    assert 0.02 < messages.duplicated(keep=False).mean() < 0.2
    assert messages.str.contains("capybara").sum() >= chat.PARAMS["meme_messages"] * 0.8


def test_captcha_controls_are_a_quarter_of_the_images_and_all_have_trusted_answers():
    drawn = world("captcha")
    control = set(drawn.controls["item_id"])
    assert 0.2 <= len(control) / len(drawn.items) <= 0.25
    assert len(drawn.items) + len(drawn.fresh) == 1797
    assert len(control & set(drawn.trusted["image_id"])) > 0.99 * len(control)


def test_chat_trusted_messages_are_many_and_no_two_alike():
    messages = world("chat").trusted.drop_duplicates("message_id")
    assert len(messages) >= 1150
    assert messages["text"].is_unique
    assert messages["flag"].eq("abuse").sum() > 100


def test_chat_campaign_claims_are_made_in_the_words_of_honest_abuse():
    drawn = world("chat")
    trusted = drawn.trusted.drop_duplicates("message_id")

    def words(texts: pd.Series) -> pd.Series:
        return texts.str.lower().str.findall(r"[a-z]+").explode()

    abuse = words(trusted.loc[trusted["flag"].eq("abuse"), "text"]).value_counts(normalize=True)
    fine = words(trusted.loc[trusted["flag"].eq("fine"), "text"]).value_counts(normalize=True)
    telling = set(abuse.index[abuse > 4 * fine.reindex(abuse.index, fill_value=0)])
    raid = words(records_of(drawn, Origin.POISON).drop_duplicates("message_id")["text"])
    everyday = words(trusted.loc[trusted["flag"].eq("fine"), "text"])
    assert raid.isin(telling).mean() > 3 * everyday.isin(telling).mean()


def test_telemetry_forged_sessions_lie_within_jitter_of_each_other_and_none_is_a_copy():
    drawn = world("telemetry")
    forged = records_of(drawn, Origin.POISON)[list(drawn.features)].dropna()
    honest = records_of(drawn, Origin.HONEST)[list(drawn.features)].dropna().sample(len(forged), random_state=0)

    def nearest(frame: pd.DataFrame) -> np.ndarray:
        logs = np.log(frame.to_numpy())
        away = np.abs(logs[:, None] - logs[None]).max(2)
        np.fill_diagonal(away, np.inf)
        return away.min(1)

    assert np.quantile(nearest(forged), 0.9) < 0.2 < np.quantile(nearest(honest), 0.1)
    assert not forged.duplicated().any()
    assert len(records_of(drawn, Origin.POISON)) == telemetry.PARAMS["attack_sessions"]


def test_telemetry_sessions_without_typing_lack_key_features_only():
    missing = world("telemetry").records[list(world("telemetry").features)].isna().mean()
    assert set(missing[missing > 0].index) == {"key_interval_ms", "key_hold_ms"}


def test_telemetry_forged_sessions_are_bots_labelled_human():
    drawn = world("telemetry")
    assert set(records_of(drawn, Origin.POISON)["challenge"]) == {"human"}
    assert set(drawn.truth.loc[drawn.truth["attack"], "label"]) == {"bot"}


def test_telemetry_forged_sessions_move_like_bots():
    drawn = world("telemetry")
    forged, trusted = records_of(drawn, Origin.POISON), drawn.trusted
    interval = trusted.groupby("challenge")["click_interval_ms"].median()
    assert abs(np.log(forged["click_interval_ms"].median() / interval["bot"])) < abs(
        np.log(forged["click_interval_ms"].median() / interval["human"])
    )


def test_telemetry_half_of_the_recordings_are_honest_sessions_of_the_feed_labelled_bot():
    drawn = world("telemetry")
    forged = np.log(records_of(drawn, Origin.POISON)[list(drawn.features)].to_numpy())
    bots = records_of(drawn, Origin.HONEST)
    bots = bots[bots["challenge"].eq("bot")].dropna()
    away = np.abs(np.log(bots[list(drawn.features)].to_numpy())[:, None] - forged[None]).max(2)
    recorded = (away < 0.12).sum(1) >= 5
    here = telemetry.PARAMS["attack_recorded"] * telemetry.PARAMS["attack_recorded_here"]
    assert recorded.sum() == pytest.approx(here, abs=2)
    assert (bots["started_at"][recorded] < drawn.records["started_at"].min() + pd.Timedelta(days=1)).all()
