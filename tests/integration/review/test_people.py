"""People sign in, have roles on feeds, and are who they say they are."""

from __future__ import annotations

import datetime as dt

import pytest

from poison_guard.errors import SignInError, UsageError
from poison_guard.records import Person
from poison_guard.review import people as rules
from poison_guard.steps import people
from poison_guard.store import verify

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
WORD = "correct horse battery"


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch):
    argon2 = pytest.importorskip("argon2", reason="argon2-cffi is not installed here")
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(rules, "_hasher", lambda: hasher)


@pytest.fixture
def ann(store):
    """The first admin."""
    people.add_user(store, "ann", WORD, role="admin", feed="*", by=None, first=True, now=NOW)
    return Person("ann", "session")


def add(store, by, name="bob", role="reviewer", feed="chat"):
    return people.add_user(store, name, WORD, role=role, feed=feed, by=by, now=NOW)


def test_the_first_admin_is_added_only_while_there_is_nobody(store, ann):
    with pytest.raises(UsageError, match="this home has people already"):
        people.add_user(store, "eve", WORD, role="admin", feed="*", by=None, first=True, now=NOW)
    with pytest.raises(SignInError, match="managed by a signed-in admin"):
        add(store, "ann")  # a name that nothing verified
    add(store, ann)
    with pytest.raises(SignInError, match="bob is no admin of every feed"):
        add(store, Person("bob", "session"), name="eve")
    with pytest.raises(UsageError, match="there is a 'ANN' already"):
        add(store, ann, name="ANN")
    assert [u.name for u in people.users(store, "home").users] == ["ann", "bob"]
    assert verify(store).ok


def test_a_session_holds_until_it_ends_expires_or_its_person_is_disabled(store, ann):
    add(store, ann)
    given = people.sign_in(store, "bob", WORD, now=NOW)
    assert given.token not in repr(given)
    assert given.token not in str(given.to_dict())
    session = people.session(store, given.token, NOW)
    assert (session.name, session.via, session.person.via) == ("bob", "session", "session")
    assert [
        session.allows(feed, role) for feed, role in (("chat", "reviewer"), ("chat", "admin"), ("other", "viewer"))
    ] == [
        True,
        False,
        False,
    ]
    with pytest.raises(SignInError, match="has ended"):
        people.session(store, given.token, NOW + dt.timedelta(hours=13))
    people.change_user(store, "bob", by=ann, disabled=True, now=NOW)
    with pytest.raises(SignInError, match="has ended"):
        people.session(store, given.token, NOW)
    with pytest.raises(SignInError, match="name or password is wrong, or the person was disabled"):
        people.sign_in(store, "bob", WORD, now=NOW)
    mine = people.sign_in(store, "ann", WORD, via="token", now=NOW)
    assert people.sign_out(store, mine.token).ended
    assert not people.sign_out(store, mine.token).ended


@pytest.mark.parametrize("token", ["", "a", "a.b", "é.b", "." * 10, "x" * 5000])
def test_a_token_that_this_home_did_not_give_is_refused(store, ann, token):
    with pytest.raises(SignInError, match="not one of this home's"):
        people.session(store, token, NOW)


def test_sign_ins_that_fail_are_slowed_down(store, ann):
    for _ in range(5):
        with pytest.raises(SignInError, match="name or password is wrong"):
            people.sign_in(store, "ann", "wrong password", now=NOW)
    with pytest.raises(SignInError, match="try again in 60 seconds"):
        people.sign_in(store, "ann", WORD, now=NOW)
    assert people.sign_in(store, "ann", WORD, now=NOW + dt.timedelta(seconds=61)).name == "ann"
    with pytest.raises(SignInError, match="name or password is wrong"):
        people.sign_in(store, "nobody\0", WORD, now=NOW)


def test_the_last_admin_stays(store, ann):
    for change in ({"disabled": True}, {"role": "viewer"}):
        with pytest.raises(UsageError, match="the last admin"):
            people.change_user(store, "ann", by=ann, now=NOW, **change)
    people.change_user(store, "ann", by=ann, password="another long one", now=NOW)
    assert people.sign_in(store, "ann", "another long one", now=NOW).name == "ann"


@pytest.mark.parametrize(
    ("name", "password", "message"),
    [("", WORD, "a name has 1 to 64"), ("a b", WORD, "a name has"), ("bob", "short", "12 to 1,024 characters, got 5")],
)
def test_names_and_passwords_that_cannot_be_are_refused(store, ann, name, password, message):
    with pytest.raises(UsageError, match=message):
        people.add_user(store, name, password, role="viewer", feed="*", by=ann, now=NOW)
