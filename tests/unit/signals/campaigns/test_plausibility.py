"""Sources that cannot be what they say, and honest ones that look odd: each finder with its twin."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poison_guard.signals.campaigns.plausibility import NEEDED, implausible

START = pd.Timestamp("2026-03-01T00:00Z")
CITIES = ("52.52,13.40", "48.14,11.58", "53.55,9.99")


def sessions(devices: int, each: int, seed: int) -> pd.DataFrame:
    """Honest devices: a version of the last four, a home, a counter that loses some records, pauses of people."""
    rng = np.random.default_rng(seed)
    device = np.repeat(np.arange(devices), each)
    n = len(device)
    habit = rng.normal(0, 0.8, devices)[device]
    pause = np.exp(habit + rng.normal(5, 1.2, n))
    at = START + pd.to_timedelta(pd.Series(pause).groupby(device).cumsum().to_numpy(), unit="s")
    late = rng.exponential(30, n)
    counter = pd.Series(1 + rng.geometric(0.9, n)).groupby(device).cumsum()
    return pd.DataFrame(
        {
            "record_id": [f"{seed}-{i}" for i in range(n)],
            "source_id": [f"s{seed}-{d}" for d in device],
            "device": [f"d{d}" for d in device],
            "observed_at": at,
            "sent_at": at + pd.to_timedelta(late, unit="s"),
            "place": np.array(CITIES)[rng.integers(0, 3, devices)[device]],
            "client_version": np.array(["5.1.0", "5.2.0", "5.3.0", "5.3.1"])[rng.integers(0, 4, devices)[device]],
            "sequence": counter.astype(str),
        }
    )


def look(kind: str, batch: pd.DataFrame, trusted: pd.DataFrame) -> set[str]:
    traits = ("sent_at", "device", "place", "client_version", "sequence")
    scored = batch.rename(columns={name: f"trait.{name}" for name in traits})
    return {source for c in implausible(kind, scored, trusted, alpha=0.0002) for source in c.source_ids}


TRUSTED = sessions(120, 15, 1)


def forged(kind: str, batch: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The sessions of a few sources as a forger sends them."""
    n = len(batch)
    match kind:
        case "unreleased_client":
            return batch.assign(client_version="99.0")
        case "impossible_clock":
            return batch.assign(observed_at=batch["sent_at"] + pd.Timedelta(days=365))
        case "two_places":
            return batch.assign(place=np.where(rng.random(n) < 0.5, batch["place"], "35.68,139.69"))
        case "odd_counter":
            return batch.assign(sequence=rng.integers(0, 2**31, n).astype(str))
        case _:
            step = batch.groupby("source_id").cumcount() * 10.0 + rng.normal(0, 0.05, n)
            return batch.assign(observed_at=START + pd.to_timedelta(step, unit="s"))


@pytest.mark.parametrize("kind", NEEDED)
def test_a_forger_is_found_and_honest_sources_are_not(kind):
    batch = sessions(200, 15, 2)
    bad = batch["source_id"].isin([f"s2-{d}" for d in range(8)])
    mixed = pd.concat([forged(kind, batch[bad], np.random.default_rng(3)), batch[~bad]], ignore_index=True)
    found = look(kind, mixed, TRUSTED)
    assert found == {f"s2-{d}" for d in range(8)}
    assert look(kind, batch, TRUSTED) == set()


@pytest.mark.parametrize("kind", NEEDED)
def test_a_counter_that_was_copied_repeats(kind):
    batch = sessions(60, 15, 4)
    copy = batch[batch["source_id"] == "s4-0"]
    both = pd.concat([batch, copy.assign(record_id="c" + copy["record_id"])], ignore_index=True)
    assert look(kind, both, TRUSTED) == ({"s4-0"} if kind == "odd_counter" else set())


TWINS = {
    "a new client version": lambda b: b.assign(client_version="5.4.0"),
    "a new major version": lambda b: b.assign(client_version="6.0.0"),
    "an outage that sends everything late": lambda b: b.assign(sent_at=b["sent_at"].max() + pd.Timedelta(days=9)),
    "a change of time zone": lambda b: b.assign(observed_at=b["observed_at"] + pd.Timedelta(hours=9)),
    "a household of one account": lambda b: b.assign(
        source_id="h" + (b["source_id"].str[3:].astype(int) // 4).astype(str)
    ),
    "a device that people share": lambda b: b.assign(
        device="d" + (b["source_id"].str[3:].astype(int) // 4).astype(str)
    ),
    "no time, place or counter": lambda b: b.assign(observed_at=pd.NaT, place=None, sequence=None),
    "counters that are no numbers": lambda b: b.assign(sequence="x"),
}


@pytest.mark.parametrize("twin", TWINS)
def test_honest_sources_that_look_odd_pass(twin):
    batch = TWINS[twin](sessions(100, 15, 5))
    found = {kind: look(kind, batch, TRUSTED) for kind in NEEDED}
    assert sum(map(len, found.values())) <= 1, found


def test_without_trusted_records_that_have_the_columns_nothing_is_judged():
    batch = forged("two_places", sessions(20, 15, 6), np.random.default_rng(0))
    assert look("two_places", batch, TRUSTED.drop(columns="place")) == set()
    assert look("two_places", batch, TRUSTED.head(20)) == set()
