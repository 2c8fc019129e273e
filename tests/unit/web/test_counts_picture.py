from __future__ import annotations

from xml.etree import ElementTree as ET

from poison_guard.drills.llm_counts import CountLine
from poison_guard.web.counts_picture import counts_picture


def test_each_attack_has_a_row_with_its_counts_and_look_alikes_have_none():
    lines = [
        CountLine("g", "a word <b>", "synthetic", 300, 5, "new", 50, 25, 1.0, 0.0),
        CountLine("c", "longer", "synthetic", 300, 5, "new", None, 500, 0.0, 0.0),
        CountLine("news", "an event", "synthetic", 300, 0, "", None, None, 0.0, 0.0),
    ]
    root = ET.fromstring(counts_picture(lines))
    dots = [dot.get("class") for dot in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert dots == ["missed", "found", "missed"]
    said = root.findtext("{http://www.w3.org/2000/svg}desc")
    assert "found from 50, missed up to 25" in said
    assert "found from no count" in said
    assert "an event" not in said
