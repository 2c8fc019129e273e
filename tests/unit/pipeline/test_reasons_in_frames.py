import json

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.decide.decisions import evidence_table
from poison_guard.pipeline.score import _judge, read_evidence
from poison_guard.records import Level, Reason, SignalEvidence

ARGS = st.dictionaries(
    st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)
)


@given(st.text(), ARGS)
def test_a_reason_written_to_a_frame_reads_back_as_it_was(code, args):
    evidence = SignalEvidence("anomaly", Level.RECORD, np.array([1.0, 0.01]), {1: Reason(code, args)})
    scored = _judge("anomaly", pd.DataFrame(index=range(2)), None, lambda records, groups: evidence)
    (back,) = read_evidence(scored)
    assert back.reasons == evidence.reasons
    assert back.p.tolist() == [1.0, 0.01]
    row = evidence_table(["a", "b"], [back]).iloc[0]
    assert (row["record_id"], row["code"], json.loads(row["args"])) == ("b", code, args)
