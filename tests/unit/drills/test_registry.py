from __future__ import annotations

import inspect

import pytest

from poison_guard.drills.drill import Cell, cells
from poison_guard.drills.registry import DRILLS, find_drills
from poison_guard.errors import NotFoundError, UsageError


@pytest.mark.parametrize("name", DRILLS)
def test_every_drill_and_its_twin_take_the_parameters_it_is_run_with(name):
    drill = DRILLS[name]
    for twin in (False, True) if drill.twin else (False,):
        for on, grid in (("synthetic", drill.grid + drill.days), ("duck", drill.real if drill.on == "crowd" else ())):
            parameters = inspect.signature(drill.function(on, twin=twin)).parameters
            handed_on = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
            assert next(iter(parameters)) == "seed"
            for params in grid:
                assert handed_on or set(params) <= set(parameters)


def test_the_attacks_of_the_issue_are_all_there():
    assert {drill.number for drill in DRILLS.values()} == set(range(1, 23))


@pytest.mark.parametrize("name", DRILLS)
def test_every_drill_has_something_to_run_and_a_twin_unless_it_is_one(name):
    drill = DRILLS[name]
    assert drill.grid or drill.days
    assert drill.twin is not None or drill.number == 14
    assert bool(drill.real) is bool(drill.on)


def test_drills_are_found_by_name_and_number_once_each_and_all_without_one():
    assert [d.name for d in find_drills(["sybils", "6", "spam"])] == ["sybils", "spam"]
    assert len(find_drills(["14"])) == 5
    assert find_drills([]) == list(DRILLS.values())
    with pytest.raises(NotFoundError, match="no drill 'tay'; there are spam"):
        find_drills(["tay"])


def test_given_values_take_the_place_of_the_grids_each_with_each():
    found = cells(DRILLS["agreed"], "synthetic", {"share": [0.4], "sybils": [40, 60]})
    whole = [c for c in found if c.by == "all"]
    assert whole == [Cell("agreed", "synthetic", "all", {"share": 0.4, "sybils": n}) for n in (40, 60)]
    assert {c.by for c in found} == {"all", "day"}


def test_a_drill_is_not_run_on_data_it_does_not_fit():
    assert cells(DRILLS["agreed"], "tweets") == []
    assert cells(DRILLS["repeat"], "duck") == []
    assert all(c.on == "rte" for c in cells(DRILLS["agreed"], "rte"))
    assert cells(DRILLS["repeat"], "tweets")


def test_an_unknown_parameter_is_refused_and_the_known_ones_are_named():
    with pytest.raises(UsageError, match="has no parameter 'shares'; it has share, style"):
        cells(DRILLS["spam"], "synthetic", {"shares": [0.1]})


def test_a_twin_has_no_twin():
    with pytest.raises(NotFoundError, match="benign twin itself"):
        DRILLS["meme"].function("synthetic", twin=True)
