"""The reference page is what the code says."""

from __future__ import annotations

import dataclasses
import re

from poison_guard.config import settings
from tests.docs import formats
from tests.docs.reference import ENVIRONMENT, PAGE, ROOT, page


def test_the_reference_is_made_from_the_code():
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tests.docs.reference`"


def test_the_page_of_formats_is_made_from_the_registry():
    assert formats.PAGE.read_text(encoding="utf-8") == formats.page(), "run `python -m tests.docs.formats`"


def test_every_environment_variable_is_listed_and_no_other():
    text = "\n".join(file.read_text(encoding="utf-8") for file in ROOT.rglob("*.py"))
    named = set(re.findall(r"\bPOISON_GUARD_[A-Z_]*[A-Z]\b", text)) - {"POISON_GUARD_KEY_OF_A_SETTING"}
    named |= {f"POISON_GUARD_{field.name.upper()}" for field in dataclasses.fields(settings._SettingsFile)}
    assert named == set(ENVIRONMENT)
