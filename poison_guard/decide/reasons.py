"""Reason codes and the sentences they are shown as; evidence carries codes, sentences are made when somebody looks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from poison_guard.text import visible

__all__ = ["SENTENCES", "sentence"]

_MAX_VALUE = 80
_MAX_PLACE = 4_096
"""Longest path of Linux, in characters."""
_SHOWN_PLACE = 160

_CAMP_TRAITS = {"new": "are new", "aimed": "answer little else"}


def sentence(code: str, args: Mapping[str, Any]) -> str:
    """Return the sentence of a reason; an unknown code or a missing argument is shown as it is, never raised.

    >>> sentence("controls_wrong", {"wrong": 9, "answered": 10})
    'answered 9 of 10 controls wrong'
    """
    make = SENTENCES.get(code)
    if make is not None:
        try:
            return make(_Args(args))
        except (KeyError, TypeError, ValueError):
            pass  # evidence of an older version may lack an argument; what it says is shown raw below
    listed = ", ".join(f"{_shown(k)} {_shown(v)}" for k, v in sorted(args.items()))
    return f"{code}: {listed}" if listed else code


def _shown(value: Any, limit: int = _MAX_VALUE) -> str:
    """Return an argument as one bounded line: a number short, text with its hidden characters visible."""
    return _number(value) if isinstance(value, float) else visible(value, limit=limit)


def _number(value: float) -> str:
    """Return three digits, and no exponent where a person would write none.

    >>> _number(18612.4), _number(0.02345)
    ('18,600', '0.0234')
    """
    if not math.isfinite(value) or not 1e-4 <= abs(value) < 1e9:
        return f"{value:.3g}"
    whole = round(value, 2 - math.floor(math.log10(abs(value))))
    return f"{whole:,.0f}" if abs(whole) >= 100 else f"{whole:.3g}"


@dataclass(frozen=True, slots=True)
class _Args:
    """Arguments of a reason, each made safe to show when asked for by name."""

    values: Mapping[str, Any]
    """The arguments as they are."""

    def __getattr__(self, name: str) -> str:
        return _shown(self.values[name])

    def columns(self, name: str) -> str:
        """Return names of columns as they are in the data, so that they can be searched for."""
        value: Any = self.values[name]
        names: Sequence[Any] = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        return ", ".join(_shown(str(n)).removeprefix("feature.") for n in names)

    def place(self, name: str) -> str:
        """Return the place of an object; of a long one the end stays, which names the file."""
        shown = _shown(self.values[name], _MAX_PLACE)
        return shown if len(shown) <= _SHOWN_PLACE else f"…{shown[-_SHOWN_PLACE:]}"

    def count(self, name: str, one: str, many: str | None = None) -> str:
        n = int(self.values[name])
        return f"{n:,} {one if n == 1 else many or one + 's'}"


def _percent(a: _Args, name: str) -> str:
    return f"{float(a.values[name]):.2%}"


def _were(n: Any) -> str:
    return "was" if int(n) == 1 else "were"


def _have(n: Any) -> str:
    return "has" if int(n) == 1 else "have"


def _duration(minutes: Any) -> str:
    if minutes is None:
        return ""
    m = float(minutes)
    if m < 1:
        return " within a minute"
    return f" in {m:.0f} min" if m < 120 else f" in {m / 60:.0f} h" if m < 72 * 60 else f" in {m / 1440:.0f} days"


def _windows(minutes: Any) -> str:
    return _duration(minutes).replace(" in ", " within windows of ")


def _text_campaign(a: _Args) -> str:
    new = a.values.get("new_sources")
    fresh = f", {int(new):,} of them new" if new else ""
    return (
        f"one of {a.count('n_records', 'near-identical message')} from {a.count('n_sources', 'account')}"
        f"{fresh}{_duration(a.values.get('minutes'))}"
    )


def _queries(a: _Args, how: str) -> str:
    who = "one source" if int(a.values["n_sources"]) == 1 else f"{a.count('n_sources', 'source')} of one cohort"
    asked = f"{a.count('n_records', 'query', 'queries')}{_duration(a.values.get('minutes'))}"
    return f"one of {asked} by {who}, asked {how}; {a.window} different ones show it"


def _judged_otherwise(a: _Args) -> str:
    n = int(a.values.get("misjudged", 0))
    return f"; {n:,} of them have a reply that others would not prefer or give" if n else ""


def _beyond(a: _Args) -> str:
    low, high = a.values.get("low"), a.values.get("high")
    bounds = f" (they span {a.low} to {a.high})" if low is not None and high is not None else ""
    return f"{a.columns('feature')} {a.value} is beyond every trusted record{bounds}"


def _drift(a: _Args) -> str:
    parts = [
        f"{k} {', '.join(_shown(c) for c in a.values[k])}" for k in ("added", "removed", "changed") if a.values.get(k)
    ]
    return "the payload's columns changed: " + "; ".join(parts)


def _few_calibration_rows(a: _Args) -> str:
    group = a.values.get("group")
    where = f" in group {a.group}" if group else ""
    return f"only {a.n} calibration records{where}; {a.needed} are needed to hold honest records at the stated rate"


def _missing_id(a: _Args) -> str:
    if "value" not in a.values:
        return f"{a.columns('column')} is empty"
    return f"{a.columns('column')} is '{a.value}', which stands for no value (null_words in [parse])"


def _bad_time(a: _Args) -> str:
    fits = f"; it fits no time_format of [parse] ({a.formats})" if "formats" in a.values else ""
    return f"{a.columns('column')} '{a.value}' is not a usable time{fits}"


def _meant(near: object) -> str:
    return f"; did you mean `{_shown(near)}`?" if near else ""


def _signatures(a: _Args) -> str:
    names = [_shown(name) for name in a.values["names"]]
    under = f", most under {', '.join(names)}, who need not have sent them" if names else ""
    told = f"signatures: {a.proved} of {a.count('n', 'record')} hold, {a.unsigned} have none"
    return f"{told}, {a.refuted} do not hold{under}"


SENTENCES: Mapping[str, Callable[[_Args], str]] = {
    # ingest
    "wrong_type": lambda a: f"{a.columns('column')} is '{a.value}', not {a.expected}",
    "cell_too_long": lambda a: f"{a.columns('column')} has {a.length} characters; the limit is {a.limit}",
    "missing_id": _missing_id,
    "bad_time": _bad_time,
    "not_finite": lambda a: f"{a.columns('column')} is {a.value}, not a finite number",
    "nested_too_deep": lambda a: f"{a.columns('column')} is nested deeper than {a.limit} levels",
    "unreadable_row": lambda a: f"line {a.line} cannot be read: {a.why}",
    "unreadable_object": lambda a: f"the file cannot be read: {a.why}",
    "object_read": lambda a: f"{a.place('object')}: {_shown(a.values['said'], 400)}",
    "id_conflict": lambda a: f"id {a.record_id} was seen before with other content",
    "id_conflicts": lambda a: f"one of {a.count('n_records', 'record')} of one run whose ids were seen before",
    "id_claimed": lambda a: "an established source sent other content under this id, and its first source is new",
    "signature_invalid": lambda a: f"its signature does not hold: {_shown(a.values['why'], 300)}",
    "signature_missing": lambda a: "it has no signature, and the feed requires one",
    "signature_replayed": lambda a: f"its nonce '{a.nonce}' came with another record",
    "signature_stale": lambda a: f"it was sent at {a.sent_at}, more than {a.days} days before it was received",
    "signature_early": lambda a: f"it says it was sent at {a.sent_at}, after it was received",
    "signatures_fail": lambda a: f"one of {a.count('n_records', 'record')} of one run that the same check holds",
    "signatures": _signatures,
    "many_labels": lambda a: (
        f"{a.column} has {int(str(a.values['n'])):,} different labels after folding, too many for a list of labels: "
        'where they are free text, write case = "keep" in [parse]'
    ),
    "placeholders": lambda a: (
        f"{a.n} of {a.rows} rows have {a.seen} as {a.column}, which counts as no id: "
        "null_words in [parse] lists such words"
    ),
    "times_unfit": lambda a: (
        f"{a.n} of {a.rows} times in {a.column} fit no time_format of [parse] ({a.formats}), "
        f"the first is '{a.value}' in row {a.row}: add its format to time_format"
    ),
    "times_moved": lambda a: (
        f"{a.n} of {a.rows} times in {a.column} are more than {a.days} days old or in the future and were moved to "
        f"that edge, the first in row {a.row}; `explain` shows what was sent; lateness_days in [policy] sets the edge"
    ),
    # validate
    "expectation": lambda a: f"{a.columns('column')} is '{a.value}'; expected {a.expected}",
    "schema_drift": _drift,
    "batch_contract": lambda a: f"the batch breaks {a.expectation} on {a.columns('column')}: {a.observed}",
    "role_empty": lambda a: (
        f"{a.columns('columns')}, which [columns] maps to {a.role}, has no usable value in any of "
        f"{a.count('n', 'record')}: what needs it judges nothing" + _meant(a.values.get("near"))
    ),
    "suite_outdated": lambda a: (
        f"the expectations about {a.columns('columns')} were made for another role of it and were left out; "
        f"`poison-guard init --refresh {_shown(a.values['contract'], 4096)}` makes them for the contract as it stands"
    ),
    # sources
    "controls_wrong": lambda a: f"answered {a.wrong} of {a.answered} controls wrong",
    "disagrees": lambda a: (
        f"disagrees with a clear majority on {a.disagreed} of {a.answered} items; "
        f"{a.expected} expected of an honest source"
    ),
    "distrusted": lambda a: (
        f"rated badly as a source by {a.against} of {a.n} raters (counted by how independent and fair they are)"
    ),
    "outcomes_wrong": lambda a: f"{a.wrong} of {a.n} records turned out wrong later",
    "changed": lambda a: (
        f"{a.wrong} of its last {a.n} verified answers were wrong; before, {float(a.values['before']):.0%} were right"
    ),
    "blocked_source": lambda a: f"source blocked by {a.by}: {a.reason}",
    # campaigns
    "near_duplicate_text": _text_campaign,
    "copies": lambda a: f"one of {a.count('n_records', 'near-copy', 'near-copies')} of one text; one more is kept",
    "near_duplicate_vectors": lambda a: (
        f"one of {a.count('n_records', 'near-identical session')} from {a.count('n_sources', 'source')}"
    ),
    "unreleased_client": lambda a: f"source {a.source} sends with a client version far beyond those that are trusted",
    "impossible_clock": lambda a: f"source {a.source} reports what happened after it was sent, by more than a day",
    "two_places": lambda a: f"source {a.source} is in two places at once, or its key is used by somebody else",
    "odd_counter": lambda a: f"the counter of source {a.source} repeats or jumps as no trusted one does",
    "even_timing": lambda a: f"the pauses of source {a.source} are more even than those of any trusted source",
    "agreement": lambda a: (
        f"one of {a.count('n_sources', 'source')} that nearly always agree on {a.count('n_items', 'disputed item')}"
    ),
    "camps": lambda a: (
        f"one of {a.count('n_sources', 'source')} that take one side of {a.count('n_items', 'disputed item')}; "
        f"{float(a.values['share']):.0%} of them {_CAMP_TRAITS[str(a.values['trait'])]}, "
        f"of other sources {float(a.values['usual']):.0%}"
    ),
    "cohort_traits": lambda a: (
        f"one of {a.count('n_sources', 'source')} of similar age that push an answer on {a.count('n_items', 'item')} "
        "against established sources"
    ),
    "co_rating": lambda a: (
        f"one of {a.count('n_sources', 'source')} that chose the same {a.count('n_items', 'item')} and rated them "
        "alike, far more than popular items, busy sources and shared taste explain"
    ),
    "rare_claim": lambda a: (
        f"one of {a.count('n_records', 'endorsement')} of a claim that hardly anyone makes except "
        f"{a.count('n_sources', 'source')}{_duration(a.values.get('minutes'))}"
    ),
    "pushed_word": lambda a: (
        f"one of {a.count('n_records', 'record')} with a word that {a.count('n_sources', 'source')} "
        f"say again and again, whatever is asked{_duration(a.values.get('minutes'))}"
    ),
    "collision": lambda a: (
        f"one of {a.count('n_records', 'document')} from {a.count('n_sources', 'source')} that copy "
        f"{a.count('n_items', 'question')} and give each the same answer in different texts"
    ),
    "hidden_text": lambda a: f"one of {a.count('n_records', 'document')} with {a.way}, which few others have",
    "turned_preference": lambda a: (
        f"one of {a.count('n_records', 'pair')} in which {a.count('n_sources', 'source')} prefer the {a.trait} reply, "
        "far more often than raters differ"
    ),
    "patient_rater": lambda a: (
        f"one of {a.count('n_records', 'endorsement')} of the same thing by one source, "
        f"out of {a.count('of', 'record')} it sent"
    ),
    "prompt_trigger": lambda a: (
        f"one of {a.count('n_records', 'prompt')} with a word that has nothing to do with what is asked, from "
        f"{a.count('n_sources', 'source')}{_judged_otherwise(a)}"
    ),
    "planted_trigger": lambda a: f"{a.mark} with the label '{a.label}', which a model learned to obey",
    "lockstep": lambda a: (
        f"one of {a.count('n_sources', 'source')} giving the same answers to {a.count('n_items', 'item')}"
        f"{_windows(a.values.get('minutes'))}"
    ),
    # queries
    "query_shift": lambda a: _queries(a, "about other things than trusted people ask"),
    "query_novelty": lambda a: _queries(a, "unlike anything that trusted people ask"),
    "query_spacing": lambda a: _queries(a, "as far from each other as a program places them"),
    "query_steps": lambda a: _queries(a, "in steps much smaller than people take"),
    "query_line": lambda a: _queries(a, "along lines, as a search for the model's edges does"),
    "query_breadth": lambda a: _queries(a, "about everything in turn, where people have interests"),
    "query_pace": lambda a: _queries(a, "faster than any trusted source"),
    # anomaly
    "beyond_trusted": _beyond,
    "never_missing": lambda a: f"{a.columns('feature')} is missing; every trusted record has it",
    "unseen_value": lambda a: f"{a.columns('feature')} is '{a.value}', which no trusted record has",
    "unusual_combination": lambda a: f"unusual combination of {a.columns('features')}",
    "far_from_trusted": lambda a: f"as strange as the strangest {float(a.values['p']):.2%} of {a.n} trusted records",
    "strange_in_batch": lambda a: (
        f"among the strangest of this batch (rank {a.rank} of {a.n}); no trusted set to judge by"
    ),
    "calibration_drift": lambda a: (
        f"{a.held} of {a.n} trusted records have p up to {a.rate}, where chance gives {a.low} to {a.high}: "
        "they no longer look like the calibration records"
    ),
    # content
    "toxic": lambda a: f"its words look abusive (score {a.score}, rarer than in trusted texts)",
    "echo": lambda a: f"echoes its prompt (score {a.share}, rarer than in trusted texts)",
    # label
    "label_denied": lambda a: f"trusted neighbours say {a.expected} {a.said} of {a.asked} times, not {a.given}",
    "label_unlikely": lambda a: (
        f"trusted records make {a.expected} {float(a.values['chance']):.0%} likely, and {a.given} hardly"
        if a.values["expected"] != a.values["given"]
        else f"trusted records leave more doubt about the label {a.given} than is usual"
    ),
    "label_unseen": lambda a: f"none of {a.n} trusted records has the label {a.given}",
    "content_unlike": lambda a: (
        f"its content cannot be compared with that of trusted records: {_shown(a.values['why'], 200)}"
    ),
    # decide
    "signal_missing": lambda a: f"the required signal {a.signal} could not judge: {a.why}",
    "signal_silent": lambda a: f"the signal {a.signal} did not run: {a.why}",
    "adoption_promise": lambda a: (
        f"adopted labels: {_percent(a, 'expected_error')} wrong is expected; of "
        f"{a.count('checked', 'control or audit', 'controls and audits')} among them {a.checked_wrong} "
        f"{_were(a.values['checked_wrong'])} wrong, so that at most {_percent(a, 'bound')} are (95 %, by "
        f"{'established sources alone' if a.basis == 'established' else 'all sources, who may know the controls'})"
    ),
    "adoption_unchecked": lambda a: (
        f"no control or audit checks the promised error of adopted labels ({a.max}): it rests on how sources agree, "
        f"and errors that all make alike do not show; {a.needs} controls or audits would certify it"
    ),
    "none_adopted": lambda a: (
        f"no label is adopted: of {a.count('items', 'item')}, {a.several} have more than one answer"
        + (f", and of two answers about one item {a.agree} agree" if a.agree else "")
        + "; more answers an item, or controls, would decide"
    ),
    "controls_contradicted": lambda a: (
        f"{a.wrong} of {a.count('controls', 'control')} contradict sources that agree, more than chance explains "
        f"({a.columns('items')}, …): look whether these controls are right; until then fewer labels are adopted"
    ),
    "bound_waits": lambda a: (
        "no label is adopted: label_promise is `bound`, and "
        f"{a.count('controls', 'control or audit', 'controls and audits')} cannot certify an error of {a.max}; "
        f"some {a.needs} without an error among the most certain labels would"
    ),
    "targets_settled": lambda a: (
        f"{a.adopted} of {a.count('targets', 'label')} that caught groups answered are adopted by who is left; "
        f"{a.targets_with_one_more} would be if one more of these were a member, {a.targets_with_two_more} if two were"
    ),
    "one_source": lambda a: f"source {a.source} gave {a.share} of the answers: where it is alone, nobody checks it",
    "nothing_to_compare": lambda a: f"the required signal {a.signal} had nothing to compare",
    "unjudged": lambda a: f"nothing could judge what these records say; {_shown(a.values.get('remedy'), 300)}",
    "no_trusted_set": lambda a: f"too few trusted records to judge by; {a.needed} vetted ones are needed",
    "few_calibration_rows": _few_calibration_rows,
    "object_continues": lambda a: (
        f"{a.place('object')} continues {a.place('earlier')}: {a.count('n_rows', 'row')} of it "
        f"{_were(a.values['n_rows'])} known before"
    ),
    "rows_repeat": lambda a: (
        f"{a.count('n_records', 'row')} of {a.of} {_have(a.values['n_records'])} the content of another record; each "
        'is a record of its own: if they are not, map record_id or set identity = "content" in [data]'
    ),
    "took_back": lambda a: f"recalled {a.count('n_records', 'accepted record')}: campaign {a.campaign_id}",
    "outcomes_read": lambda a: (
        f"read {a.count('files', 'file')} of outcomes: {a.right} right, {a.wrong} wrong ({a.revised} revised), "
        f"{a.late} too late, {a.unknown} of unknown records, {a.bad} unusable rows"
    ),
    "outcomes_unread": lambda a: f"outcomes: {_shown(a.values.get('why'), 300)}",
    "audit_sample": lambda _: "drawn at random from the accepted records, so that misses can be counted",
}
