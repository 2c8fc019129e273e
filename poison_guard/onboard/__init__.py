"""Look at a file and propose what a feed needs: its contract and its suite."""

from poison_guard.onboard.contract_proposal import draft_contract, propose_contract
from poison_guard.onboard.fit_format import find_format, fit_format, named_format
from poison_guard.onboard.formats import FORMATS
from poison_guard.onboard.readings import find_readings
from poison_guard.onboard.suite_proposal import propose_suite, suite_for
from poison_guard.onboard.time_forms import join_day_and_clock

__all__ = [
    "FORMATS",
    "draft_contract",
    "find_format",
    "find_readings",
    "fit_format",
    "join_day_and_clock",
    "named_format",
    "propose_contract",
    "propose_suite",
    "suite_for",
]
