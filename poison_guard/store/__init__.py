"""Where everything is kept: tables and their migrations, the Parquet lake, state versions, queue and audit chain."""

from poison_guard.store.audit import AuditResult, verify
from poison_guard.store.commit import commit_run
from poison_guard.store.engine import Store, open_store
from poison_guard.store.facts import explain, feed_facts, list_campaigns, load_campaign, run_facts
from poison_guard.store.lake import Lake, LakeFile
from poison_guard.store.models import Model, champion, list_models, load_model
from poison_guard.store.reading import (
    accepted_frames,
    count_places,
    find_records,
    frames_in,
    list_feeds,
    load_items,
    load_payloads,
    load_sources,
)
from poison_guard.store.runs import (
    Run,
    begin_run,
    find_open_run,
    last_watermark,
    list_runs,
    load_run,
    load_run_result,
    repin,
    seen_objects,
)
from poison_guard.store.snapshots import Part, Snapshot, last_snapshot, list_snapshots, load_snapshot
from poison_guard.store.state import load_known, load_state, load_sums
from poison_guard.store.trusted import TrustedSummary, add_trusted, count_trusted, load_trusted

__all__ = [
    "AuditResult",
    "Lake",
    "LakeFile",
    "Model",
    "Part",
    "Run",
    "Snapshot",
    "Store",
    "TrustedSummary",
    "accepted_frames",
    "add_trusted",
    "begin_run",
    "champion",
    "commit_run",
    "count_places",
    "count_trusted",
    "explain",
    "feed_facts",
    "find_open_run",
    "find_records",
    "frames_in",
    "last_snapshot",
    "last_watermark",
    "list_campaigns",
    "list_feeds",
    "list_models",
    "list_runs",
    "list_snapshots",
    "load_campaign",
    "load_items",
    "load_known",
    "load_model",
    "load_payloads",
    "load_run",
    "load_run_result",
    "load_snapshot",
    "load_sources",
    "load_state",
    "load_sums",
    "load_trusted",
    "open_store",
    "repin",
    "run_facts",
    "seen_objects",
    "verify",
]
