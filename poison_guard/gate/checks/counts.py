"""Checks of counts: the size of the trusted set, the share of each source, audits, the backlog, observed records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poison_guard.config.policies import GatePolicy
from poison_guard.gate.outcomes import EXCLUSION_ALPHA, about, check_alpha, make_check, not_applicable
from poison_guard.numerics.intervals import proportion_bounds, rows_to_exclude
from poison_guard.records import Check, Outcome

__all__ = ["audits", "backlog", "new_cohort", "observed", "source_share", "trusted_set"]


@about("AML.T0020", "availability poisoning")
def trusted_set(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge the trusted examples (calibration and holdout splits) that the gate compares with.

    Measurement (`measure.trusted_set`): ``n`` trusted examples, ``labels`` their count by label, ``snapshot_labels``
    the snapshot's, ``age_days`` since somebody last added to the set (None: unknown), ``seen_before`` entries that the
    feed had sent before they were vetted, and that no review took from it. FAIL: such an entry. INCONCLUSIVE: no
    trusted set, a label of the snapshot with fewer than ``min_trusted`` trusted examples (`needs`: examples to add for
    the poorest label), or nothing added for ``trusted_days``. `value` is how many the poorest label lacks.
    """
    n, have = int(measurement["n"]), measurement["labels"]
    labelled = set(measurement["snapshot_labels"]) != {""}
    wanted = policy.min_trusted if labelled else _REPLIES * policy.min_trusted
    missing = {x: max(0, wanted - int(have.get(x, 0))) for x in measurement["snapshot_labels"]}
    poorest = max(sorted(missing), key=lambda x: missing[x], default=None)
    lacking = missing[poorest] if poorest is not None else 0
    age, seen = measurement.get("age_days"), int(measurement["seen_before"])
    outcome, why = Outcome.PASS, f"{n} trusted examples, at least {wanted}{' of each label' if labelled else ''}"
    if seen:
        outcome = Outcome.FAIL
        why = f"the feed had sent {seen} trusted records before they were vetted; it may have written its own judge"
    elif n == 0:
        outcome, why = (
            Outcome.INCONCLUSIVE,
            (
                "there is no trusted set to compare with, so neither labels nor triggers were judged; add vetted "
                "records with `poison-guard trust`"
            ),
        )
    elif lacking:
        outcome = Outcome.INCONCLUSIVE
        why = f"{int(have.get(poorest, 0))} trusted examples of {wanted} needed"
        if labelled:
            why = f"label {poorest!r} has {why} ({sum(v > 0 for v in missing.values())} labels lack some)"
    elif age is None or age > policy.trusted_days:
        outcome = Outcome.INCONCLUSIVE
        why = f"nobody added to the trusted set for {'unknown' if age is None else round(age)} days; review and add"
    needs = n + sum(missing.values()) if lacking else None
    value = float(lacking)
    return make_check("trusted_set", outcome, why, n=n, value=value, limit=0.0, bounds=(value, value), needs=needs)


_REPLIES = 3
"""Times ``min_trusted`` that feedback without labels needs: there is no label that tells what to expect."""
_EVEN_SHARE_FACTOR = 3
"""Times an even share that one source may hold where sources are few."""


@about("AML.T0020", "availability poisoning")
def source_share(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge how much of the snapshot rests on its largest source.

    Measurement (`measure.source_share`): ``n`` accepted records behind the snapshot, ``sources`` how many sources gave
    them, ``top`` records of the largest one, ``source`` its id; or ``{"absent": reason}`` for feeds without sources.
    FAIL above ``max(max_source_share, 3 / sources)``; with fewer than four sources that is all of it, and the check
    says so.
    """
    if "absent" in measurement:
        return not_applicable("source_share", measurement["absent"])
    n, sources, top = int(measurement["n"]), int(measurement["sources"]), int(measurement["top"])
    share = top / n if n else 0.0
    limit = min(1.0, max(policy.max_source_share, _EVEN_SHARE_FACTOR / sources if sources else 1.0))
    outcome = Outcome.FAIL if share > limit else Outcome.PASS
    why = f"the largest of {sources} sources ({measurement['source']}) gave {top} of {n} records ({share:.1%})"
    why += f"; {limit:.1%} may rest on one source (max_source_share in [gate])" if outcome is Outcome.FAIL else ""
    return make_check("source_share", outcome, why, n=n, value=share, limit=limit, bounds=(share, share))


@about("AML.T0020", "targeted poisoning")
def new_cohort(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge what rests on new sources: each one's count, and their share together.

    Measurement (`measure.new_cohort`): ``n`` records, ``new`` of them from sources whose account was new, ``sources``
    how many new sources, ``top`` records of the largest new one, ``source`` its id, ``unknown`` records from sources of
    unknown age (counted as not new, and said); or ``{"absent": reason}``. FAIL beyond ``max_new_source_examples`` for
    one new source, or when all new ones together hold more than ``max_new_share``.
    """
    if "absent" in measurement:
        return not_applicable("new_cohort", measurement["absent"])
    n, new, top = int(measurement["n"]), int(measurement["new"]), int(measurement["top"])
    share = new / n if n else 0.0
    why = f"{measurement['sources']} new sources gave {new} of {n} records ({share:.1%}), {top} at most from one"
    if measurement.get("unknown"):
        why += f"; the age is unknown for {measurement['unknown']} records"
    outcome = Outcome.PASS
    if top > policy.max_new_source_examples:
        outcome = Outcome.FAIL
        why += f": {measurement['source']} may give {policy.max_new_source_examples} while new"
        why += " (max_new_source_examples in [gate])"
    elif share > policy.max_new_share:
        outcome = Outcome.FAIL
        why += f"; together they may give {policy.max_new_share:.0%} (max_new_share in [gate])"
    limit = policy.max_new_share
    return make_check("new_cohort", outcome, why, n=n, value=share, limit=limit, bounds=(share, share))


_ALERT_SHARE = 0.25
"""Share of the snapshot beyond which what waits is worth an alert; it closes nothing."""


@about("AML.T0020", "availability poisoning", budget=0.05)
def audits(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge the misses that audits of random accepted records found.

    Measurement (`measure.audits`): ``n`` accepted records of the snapshot that people audited, ``wrong`` of them that
    should not have been accepted. FAIL: significantly more than ``max_missed``. Where nothing is decided the check is
    INCONCLUSIVE and does not block, since a gate must not wait for ever for somebody to read; `needs` says how many
    audits without a miss exclude the limit.
    """
    n, wrong = int(measurement["n"]), int(measurement["wrong"])
    low, high = proportion_bounds(wrong, n, low_tail=check_alpha(policy, "audits"), high_tail=EXCLUSION_ALPHA)
    limit = policy.max_missed
    outcome = Outcome.FAIL if low > limit else Outcome.PASS if high <= limit else Outcome.INCONCLUSIVE
    needs = max(n + 1, rows_to_exclude(limit)) if outcome is Outcome.INCONCLUSIVE else None
    why = f"{wrong} of {n} audited accepted records were wrong; more than {high:.1%} is excluded"
    why = why if n else "nobody has judged what was drawn for audit; `poison-guard review list --kind audit` shows it"
    blocking = outcome is not Outcome.INCONCLUSIVE
    value = wrong / n if n else None
    return make_check(
        "audits", outcome, why, n=n, value=value, limit=limit, bounds=(low, high), needs=needs, blocking=blocking
    )


@about("AML.T0020", "availability poisoning")
def backlog(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Say what is not in the snapshot because nobody decided it; an alert, never a closed gate.

    Measurement (`measure.backlog`): ``n`` examples in the snapshot, ``deferred`` items without enough undisputed
    evidence, ``expired`` quarantined records that nobody read in time, ``waiting`` records in the queue now.
    """
    n = int(measurement["n"])
    deferred, expired, waiting = (int(measurement[key]) for key in ("deferred", "expired", "waiting"))
    left = deferred + expired + waiting
    share = left / (n + left) if n + left else 0.0
    outcome = Outcome.PASS if share <= _ALERT_SHARE else Outcome.INCONCLUSIVE
    why = f"{deferred} items deferred, {waiting} records waiting for review, {expired} expired unread"
    return make_check(
        "backlog", outcome, why, n=n, value=share, limit=_ALERT_SHARE, bounds=(share, share), blocking=False
    )


@about("AML.T0020", "availability poisoning")
def observed(measurement: Mapping[str, Any], policy: GatePolicy) -> Check:
    """Judge what was accepted only because the feed observed: the guard would have held it, and nobody released it.

    Measurement (`measure.observed`): ``n`` accepted records behind the snapshot, ``passed`` of them let pass. Any of
    these makes it INCONCLUSIVE: whether the guard or the record is right is for a person to say.
    """
    n, passed = int(measurement["n"]), int(measurement["passed"])
    share = passed / n if n else 0.0
    why = f"{passed} of {n} accepted records would have been held, but the feed only observed"
    why += "; `poison-guard recall --observed` takes them back into the queue"
    why = why if passed else "nothing was let pass that would have been held"
    outcome = Outcome.INCONCLUSIVE if passed else Outcome.PASS
    return make_check("observed", outcome, why, n=n, value=share, limit=0.0, bounds=(share, share))
