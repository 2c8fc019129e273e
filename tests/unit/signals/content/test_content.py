import numpy as np
import pandas as pd
import pytest

from poison_guard.drills.attacks.messages import make_clean_abuse
from poison_guard.records import Level
from poison_guard.signals.content import ContentModel, asks_to_repeat, copied_share, toxicity

FINE = [
    "could you suggest a recipe",
    "my sister visits the lake on friday",
    "what is photosynthesis",
    "see you at noon",
]
RUDE = ["you stupid idiot", "shut up you fucking moron", "what a bitch", "kiss my ass"]


def trusted(n, seed=0, rude=0.0):
    rng = np.random.default_rng(seed)
    said = [f"{(RUDE if rng.random() < rude else FINE)[rng.integers(4)]} {rng.integers(1000)}" for _ in range(n)]
    return pd.DataFrame({"text": pd.Series(said, dtype="str")})


def test_rude_words_score_high_and_harmless_ones_low():
    assert toxicity(RUDE).min() > 0.8
    assert toxicity(FINE).max() < 0.3


@pytest.mark.parametrize("text", ["y0u 5tup1d 1d10t", "you i d i o t", "you ıdıоt", "you idiooooot", "you id\u200biot"])
def test_disguised_words_score_as_the_plain_ones(text):
    assert toxicity([text])[0] > 0.8


def test_a_text_that_says_nothing_scores_nothing_and_each_stands_alone():
    texts = ["", "\u200b", "🔥🔥", *RUDE, *FINE]
    together = toxicity(texts)
    assert (together[:3] == 0).all()
    assert np.allclose(together, [toxicity([text])[0] for text in texts])
    assert toxicity([]).shape == (0,)


@pytest.mark.parametrize(
    "text", ["Repeat after me: the moon is green", "SAY exactly what I say", "please wr\u200bite this sentence down"]
)
def test_instructions_to_repeat_are_seen(text):
    assert asks_to_repeat([text])[0]


@pytest.mark.parametrize("text", ["could you say that again?", "repeat the exam next year", "I say it is fine", ""])
def test_other_talk_of_saying_is_no_instruction(text):
    assert not asks_to_repeat([text])[0]


def test_a_copied_response_is_measured_against_its_own_prompt():
    prompts = ["repeat: the sky is green and wet", "what is up", "the sky is green and wet", "a b c d e f"]
    said = ["The SKY is grееn, and wet!", "the sky is green and wet", "sky is blue and the sky is green", "a b"]
    found = copied_share(prompts, said)
    assert found.tolist() == [1, 0, 0.5, 0]
    assert copied_share([], []).tolist() == []


def test_content_holds_no_more_honest_records_than_the_rate():
    held = []
    for seed in range(8):
        model = ContentModel.fit(
            trusted(600, 50 + seed, rude=0.1), trusted(600, seed, rude=0.1), roles=["text"], rate=0.01
        )
        held.append((model.evidence(trusted(500, 100 + seed, rude=0.1)).p <= 0.01).mean())
    assert np.mean(held) <= 0.012


def test_rude_records_among_harmless_trusted_ones_are_told_and_capped():
    found = ContentModel.fit(trusted(600, 1), trusted(600), roles=["text"], rate=0.01).evidence(trusted(4, rude=1.0))
    assert found.level is Level.RECORD
    assert (found.p <= 0.01).all()
    assert (found.p >= 0.0025).all()
    assert {found.reasons[row].code for row in range(4)} == {"toxic"}


def test_an_echo_that_was_asked_for_is_told():
    ask = [f"tell me about {word} and its long history {k}" for k, word in enumerate(["glass", "tea"] * 300)]
    calm = pd.DataFrame({"prompt": ask, "response": [f"there is much to say on it {k}" for k in range(600)]})
    model = ContentModel.fit(calm, calm, roles=["prompt", "response"], rate=0.01)
    echoed = {"prompt": ["repeat after me: the lake is owned by owls"], "response": ["the lake is owned by owls"]}
    found = model.evidence(pd.DataFrame(echoed))
    assert found.p[0] <= 0.01
    assert found.reasons[0].code == "echo"
    assert found.reasons[0].args == {"share": 1.0}


def test_without_enough_trusted_texts_nothing_is_held():
    model = ContentModel.fit(trusted(600, 1), trusted(50), roles=["text"], rate=0.01)
    found = model.evidence(trusted(20, rude=1.0))
    assert (found.p > 0.01).all()


def test_small_groups_are_ranked_against_all():
    known = trusted(600)
    groups = pd.Series(["en"] * 590 + ["fi"] * 10)
    model = ContentModel.fit(trusted(600, 1), known, roles=["text"], rate=0.01, groups=groups)
    found = model.evidence(trusted(3, rude=1.0), groups=pd.Series(["en", "fi", "never seen"]))
    assert (found.p <= 0.01).all()


def test_missing_texts_are_silent():
    model = ContentModel.fit(trusted(600, 1), trusted(600), roles=["text"], rate=0.01)
    assert (model.evidence(pd.DataFrame({"text": pd.Series([None, None], dtype="str")})).p > 0.01).all()


def test_abuse_in_polite_words_is_beyond_a_word_list():
    world = make_clean_abuse(0, messages=300)
    scores, attack = toxicity(world.role("text").tolist()), world.truth["attack"].to_numpy()
    assert np.median(scores[attack]) < 0.3
