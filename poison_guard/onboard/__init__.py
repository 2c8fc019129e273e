"""Look at a file and propose what a feed needs: its contract and its suite."""

from poison_guard.onboard.contract_proposal import propose_contract
from poison_guard.onboard.suite_proposal import propose_suite

__all__ = ["propose_contract", "propose_suite"]
