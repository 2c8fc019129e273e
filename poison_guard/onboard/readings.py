"""How the numbers and times of a file are written: the keys of ``[parse]`` with their evidence, and the doubts."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.config import Parse
from poison_guard.ingest.values import is_null_word
from poison_guard.onboard.doubts import Doubt, Readings
from poison_guard.onboard.number_signs import number_readings
from poison_guard.onboard.time_forms import by_order, orders_of, serial_doubt, time_reading

__all__ = ["find_readings"]


def find_readings(table: pa.Table) -> Readings:
    """Return how the numbers and times of the text columns of a raw `table` are written."""
    texts = {name: cells for name in table.column_names if len(cells := _filled(table[name].combine_chunks()))}
    numbers = number_readings(texts)
    keys, evidence, doubts = dict(numbers.keys), dict(numbers.evidence), list(numbers.doubts)
    times = {name: time_reading(name, cells) for name, cells in texts.items()}
    orders = orders_of(times.values())
    forms: list[str] = []
    proofs: list[str] = []
    for name, found in times.items():
        reading = by_order(found, orders) if isinstance(found, Doubt) else found
        zone = keys.get("time_zone") if reading is None else reading.keys.get("time_zone", keys.get("time_zone"))
        if reading is not None and keys.get("time_zone", zone) != zone:  # a contract has one
            doubts.append(Doubt(name, texts[name][0].as_py(), (reading,)))
        elif reading is not None:
            forms += reading.keys["time_format"]
            proofs.append(reading.evidence)
            if zone:
                keys["time_zone"], evidence["time_zone"] = (
                    zone,
                    f"{name} names a zone that no other place's clocks have",
                )
        elif isinstance(found, Doubt):
            doubts.append(found)
    if forms:
        keys["time_format"], evidence["time_format"] = list(dict.fromkeys(forms)), "; ".join(proofs[:3])
    serials = [d for name in table.column_names if (d := serial_doubt(name, table[name].combine_chunks())) is not None]
    read = {name for name, found in times.items() if found is not None} | {doubt.column for doubt in serials}
    return Readings(keys, evidence, (*doubts, *serials), frozenset(read))


def _filled(array: pa.Array) -> pa.Array:
    """Return the cells of a text column that hold something and no placeholder; none for a column of another type."""
    if not pa.types.is_large_string(array.type):
        return pa.array([], pa.large_string())
    text = pc.utf8_trim_whitespace(array.drop_null())
    text = text.filter(pc.greater(pc.binary_length(text), 0))
    return text.filter(pa.array(~is_null_word(text, Parse().null_set)))
