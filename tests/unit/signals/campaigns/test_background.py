import numpy as np
import pytest

from poison_guard.signals.campaigns.new_accounts import Background, densest_span

DAY = 86400.0


def crowd(new_share=0.1, seed=0, n=2000):
    rng = np.random.default_rng(seed)
    return np.arange(n), rng.random(n) < new_share, rng.uniform(0, 10 * DAY, n)


def test_a_group_of_new_accounts_is_unlikely_among_old_ones():
    rest = Background.of(*crowd())
    assert rest.new_accounts_p(np.ones(20, bool), DAY, DAY + 3600) < 1e-12
    assert rest.new_accounts_p(np.r_[np.ones(2, bool), np.zeros(18, bool)], DAY, DAY + 3600) > 0.3


def test_where_newcomers_arrive_new_accounts_are_no_wonder():
    speaker, new, at = crowd()
    rest = Background.of(
        np.r_[speaker, 5000 + np.arange(300)],
        np.r_[new, np.ones(300, bool)],
        np.r_[at, np.linspace(DAY, DAY + 3600, 300)],
    )
    assert rest.new_accounts_p(np.ones(20, bool), DAY, DAY + 3600) > 0.05
    assert rest.new_accounts_p(np.ones(20, bool), 5 * DAY, 5 * DAY + 3600) < 1e-6


def test_newcomers_who_arrive_among_many_others_explain_a_group_no_larger_than_they_are():
    speaker, new, at = crowd(n=20_000)
    rest = Background.of(
        np.r_[speaker, 50_000 + np.arange(240)],
        np.r_[new, np.arange(240) < 170],
        np.r_[at, np.linspace(DAY, DAY + 3 * 3600, 240)],
    )
    slogan = np.arange(60) < 42
    assert rest.new_accounts_p(slogan, DAY, DAY + 3 * 3600) == 1.0
    assert rest.new_accounts_p(np.arange(400) < 280, DAY, DAY + 3 * 3600) < 1e-6
    assert rest.new_accounts_p(slogan, 5 * DAY, 5 * DAY + 3 * 3600) < 1e-9


def test_one_busy_newcomer_hides_nobody():
    speaker, new, at = crowd()
    rest = Background.of(
        np.r_[speaker, np.full(300, 5000)], np.r_[new, np.ones(300, bool)], np.r_[at, np.linspace(DAY, DAY + 3600, 300)]
    )
    assert rest.new_accounts_p(np.ones(20, bool), DAY, DAY + 3600) < 1e-9


def test_a_few_newcomers_who_speak_every_hour_are_no_arriving_crowd():
    speaker, new, at = crowd(new_share=0.05)
    busy = np.repeat(5000 + np.arange(10), 24)
    rest = Background.of(
        np.r_[speaker, busy], np.r_[new, np.ones(240, bool)], np.r_[at, DAY + np.tile(np.arange(24) * 3600.0, 10)]
    )
    assert rest.new_accounts_p(np.arange(100) < 90, DAY, 2 * DAY) < 1e-12


@pytest.mark.parametrize(("seconds", "burst"), [(600, True), (9 * DAY, False)])
def test_a_burst_is_measured_against_the_busiest_time_of_the_rest(seconds, burst):
    rest = Background.of(*crowd())
    assert (rest.burst_p(np.linspace(DAY / 2, DAY / 2 + seconds, 40)) < 1e-6) == burst


def test_a_busy_hour_of_everybody_is_no_burst():
    speaker, new, _ = crowd()
    rest = Background.of(speaker, new, np.random.default_rng(1).uniform(0, 600, 2000))
    assert rest.burst_p(np.linspace(0, 600, 40)) == 1


def test_without_times_or_others_nothing_is_hasty():
    none = Background.of(np.zeros(0, int), np.zeros(0, bool), np.zeros(0))
    assert none.burst_p(np.arange(40.0)) == 1
    assert Background.of(*crowd()).burst_p(np.full(40, np.nan)) == 1
    assert none.new_accounts_p(np.ones(3, bool), np.nan, np.nan) == pytest.approx(0.125)


def test_the_span_is_the_shortest_that_holds_nine_in_ten():
    assert densest_span(np.r_[np.arange(19.0), 1e9, np.nan]) == (0, 17)
    assert all(np.isnan(densest_span(np.array([np.nan]))))
