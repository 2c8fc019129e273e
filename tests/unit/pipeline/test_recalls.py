import dataclasses

import pandas as pd

from poison_guard.config import Policy
from poison_guard.pipeline.decide import recalled
from poison_guard.records import Campaign, Reason
from tests.unit.pipeline.conftest import make_state


def campaign(p, *earlier):
    return Campaign("c-1", "lockstep", p, 1.0, ("new",), ("s",), None, None, Reason("lockstep"), earlier)


def state(**places):
    memory = pd.DataFrame({"record_id": list(places), "place": list(places.values())}, dtype="str")
    return dataclasses.replace(make_state(), memory=memory)


def test_accepted_earlier_members_of_a_held_campaign_are_taken_back_and_nothing_else():
    known = state(a="accepted", b="quarantined", c="rejected", d="accepted", e="recalled")
    told = recalled([campaign(1e-6, "a", "b", "c", "e")], (), known, Policy())
    assert told.to_dict("records") == [{"record_id": "a", "campaign_id": "c-1"}]


def test_a_campaign_that_is_not_held_takes_nothing_back():
    assert recalled([campaign(0.01, "a")], (), state(a="accepted"), Policy()).empty


def test_what_a_person_released_is_not_taken_back_by_a_campaign_found_later():
    answers = pd.DataFrame({"record_id": ["denied", "open", "released"], "verdict": [-1, 0, 1]})
    known = dataclasses.replace(make_state(), answers=answers)
    taken = recalled([campaign(1e-6, "denied", "open", "released")], (), known, Policy())
    assert taken["record_id"].tolist() == ["denied", "open"]
