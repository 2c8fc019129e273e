"""What users write down: contracts, policies, the settings of a home. Imports nothing heavy: DAG files use it."""

from poison_guard.config.contract import Contract, Kind, Mode, find_contract, load_contract, parse_contract
from poison_guard.config.data import Data
from poison_guard.config.parse import Case, Parse
from poison_guard.config.policies import GatePolicy, Policy, RetrainConfig
from poison_guard.config.settings import Settings, open_settings

__all__ = [
    "Case",
    "Contract",
    "Data",
    "GatePolicy",
    "Kind",
    "Mode",
    "Parse",
    "Policy",
    "RetrainConfig",
    "Settings",
    "find_contract",
    "load_contract",
    "open_settings",
    "parse_contract",
]
