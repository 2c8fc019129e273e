import ast
import unicodedata
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import poison_guard
from poison_guard.decide.reasons import SENTENCES, sentence

PACKAGE = Path(poison_guard.__file__).parent


def test_sentences_read_as_the_reviewer_should_read_them():
    assert sentence("controls_wrong", {"wrong": 9, "answered": 10}) == "answered 9 of 10 controls wrong"
    assert (
        sentence("near_duplicate_text", {"n_records": 46, "n_sources": 40, "minutes": 12, "new_sources": 0})
        == "one of 46 near-identical messages from 40 accounts in 12 min"
    )
    said = sentence("beyond_trusted", {"feature": "pointer_speed", "value": 9.1, "low": 0.2, "high": 3.4})
    assert said == "pointer_speed 9.1 is beyond every trusted record (they span 0.2 to 3.4)"


def test_a_far_record_is_placed_among_the_trusted_ones():
    shown = sentence("far_from_trusted", {"p": 3 / 251, "n": 250})
    assert shown == "as strange as the strangest 1.20% of 250 trusted records"


def test_every_code_that_the_package_gives_has_a_sentence():
    used = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Reason" and node.args:
                code = node.args[0]
                if isinstance(code, ast.Constant) and isinstance(code.value, str):
                    used.add(code.value)
    assert used, "the package gives no reasons at all"
    assert used <= set(SENTENCES), f"codes without a sentence: {sorted(used - set(SENTENCES))}"


@given(
    st.sampled_from([*SENTENCES, "from_a_later_version"]), st.dictionaries(st.text(max_size=8), st.text(), max_size=4)
)
def test_a_sentence_is_never_an_error_and_always_one_safe_line(code, args):
    shown = sentence(code, args)
    assert shown
    assert not _hidden(shown)


@given(st.text(max_size=300))
def test_hostile_text_is_shown_bounded_and_visible(text):
    shown = sentence("unreadable_row", {"line": 1, "why": text})
    assert not _hidden(shown)
    assert len(shown) <= len("<U+10FFFF>") * 80 + 60


def test_hidden_characters_are_made_visible_as_everywhere_else():
    shown = sentence("unreadable_row", {"line": 7, "why": "abc\u202edef\u3164"})
    assert shown == "line 7 cannot be read: abc<U+202E>def<U+3164>"


def _hidden(text):
    return {c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} or c == "\u3164"}


def test_a_long_place_keeps_the_name_of_the_file():
    folder = "/data/" + "very-long-name/" * 40
    said = sentence("object_continues", {"object": f"{folder}b.csv", "earlier": f"{folder}a.csv", "n_rows": 3})
    assert "b.csv continues …" in said
    assert "a.csv: 3 rows" in said
    assert len(said) < 500
