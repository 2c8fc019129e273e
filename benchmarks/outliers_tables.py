"""The tables of ``benchmarks/outliers.py``, made from the AUROCs it has kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

RESULTS = Path(__file__).parent / "results" / "outliers.md"
MODES = ("unsupervised", "reference")
TWINS = {"mahalanobis": "mcd", "bagged_knn": "knn", "extended_iforest": "iforest"}
"""PyOD's detector beside ours where the name is another one."""
PUBLISHED = {"semi": "reference", "unsup": "unsupervised"}


def difference(a: pd.Series, b: pd.Series) -> str:
    """Return the mean paired difference over sets with Student's 95 % interval; both are means over seeds by set."""
    d = (a - b).dropna().to_numpy()
    if len(d) < 2:
        return "–"
    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
    return f"{d.mean():+.2f} [{d.mean() - half:+.2f}, {d.mean() + half:+.2f}]"


def wide(kept: pd.DataFrame, part: str, mode: str) -> pd.DataFrame:
    """Return mean AUROC over seeds, a row a set, a column a detector."""
    mine = kept[(kept["part"] == part) & (kept["mode"] == mode)]
    return mine.pivot_table(index="set", columns="detector", values="auroc", aggfunc="mean")


def singles(kept: pd.DataFrame) -> list[str]:
    """Return each detector beside PyOD's of that kind, mean over sets and seeds."""
    lines = [
        "| detector | beside | " + " | ".join(f"{m}: ours | PyOD | difference [95 %]" for m in MODES) + " |",
        "|---|---|" + "---:|---:|---|" * len(MODES),
    ]
    tables = {mode: wide(kept, "quality", mode) for mode in MODES}
    for name in (c for c in tables[MODES[0]].columns if not c.startswith("pyod ") and c != "ensemble"):
        twin = TWINS.get(name, name)
        cells = []
        for table in tables.values():
            if f"pyod {twin}" not in table:
                cells += [f"{table[name].mean():.2f}", "–", "–"]
                continue
            peer = table[f"pyod {twin}"]
            cells += [f"{table[name].mean():.2f}", f"{peer.mean():.2f}", difference(table[name], peer)]
        lines.append(f"| {name} | {twin if f'pyod {twin}' in tables[MODES[0]] else '–'} | {' | '.join(cells)} |")
    return lines


def ensemble(kept: pd.DataFrame) -> list[str]:
    """Return the default ensemble beside each of PyOD's."""
    lines = [
        "| mode | beside PyOD's | ensemble | peer | difference [95 %] | sets ahead |",
        "|---|---|---:|---:|---|---:|",
    ]
    for mode in MODES:
        table = wide(kept, "quality", mode)
        peers = [c for c in table.columns if c.startswith("pyod ")]
        for peer in sorted(peers, key=lambda c: -table[c].mean()):
            ahead = (table["ensemble"] > table[peer]).sum()
            lines.append(
                f"| {mode} | {peer.removeprefix('pyod ')} | {table['ensemble'].mean():.2f} | {table[peer].mean():.2f} "
                f"| {difference(table['ensemble'], table[peer])} | {ahead} of {len(table)} |"
            )
    return lines


def by_set(kept: pd.DataFrame) -> list[str]:
    """Return the ensemble by set, beside the best of PyOD's there (chosen with the answers known)."""
    lines = ["| set |" + "".join(f" {m} | best of PyOD's |" for m in MODES), "|---|" + "---:|---|" * len(MODES)]
    tables = {mode: wide(kept, "quality", mode) for mode in MODES}
    for name in tables["reference"].index:
        cells = []
        for table in tables.values():
            if name not in table.index:
                cells += ["–", "–"]
                continue
            row = table.loc[name]
            peers = row[[c for c in row.index if c.startswith("pyod ")]]
            cells += [f"{row['ensemble']:.1f}", f"{peers.max():.1f} {str(peers.idxmax()).removeprefix('pyod ')}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def published(kept: pd.DataFrame, facts: pd.DataFrame) -> list[str]:
    """Return, on the sets that have published figures, the ensemble and our best single detector beside them."""
    methods = [c for c in facts.columns if c not in ("setting", "dataset")]
    head = ["setting", "set", "ensemble", "our best single", "published best", *(m for m in methods), "lower?"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|---:|---|---|" + "---:|" * len(methods) + "---|"]
    gaps: dict[str, list[float]] = {}
    for setting, mode in PUBLISHED.items():
        table = wide(kept, "published", mode)
        told = facts[facts["setting"] == setting].set_index("dataset")
        for name in (n for n in told.index if n in table.index):
            row, known = table.loc[name], told.loc[name, methods].astype(float)
            mine = row.drop("ensemble")
            gap = float(row["ensemble"] - known.max())
            gaps.setdefault(setting, []).append(float(row["ensemble"] - known["KNN"]))
            cells = [
                f"{row['ensemble']:.1f}",
                f"{mine.max():.1f} {mine.idxmax()}",
                f"{known.max():.1f} {known.idxmax()}",
            ]
            cells += [f"{known[m]:.1f}" for m in methods]
            lines.append(f"| {setting} | {name} | {' | '.join(cells)} | {f'{gap:+.1f}' if gap < 0 else ''} |")
    means = "; ".join(f"{s}: {np.mean(v):+.1f} over {len(v)} sets" for s, v in gaps.items())
    return [*lines, "", f"Ensemble minus published KNN, mean: {means}."]


def copied(kept: pd.DataFrame) -> list[str]:
    """Return every detector's AUROC for near-copies of one odd row, by share of the batch."""
    lines = []
    for mode in MODES:
        table = wide(kept, "copies", mode).T
        if lines:
            lines.append("")
        lines += [f"| {mode} | " + " | ".join(map(str, table.columns)) + " |", "|---|" + "---:|" * len(table.columns)]
        lines += [f"| {name} | " + " | ".join(f"{v:.1f}" for v in row) + " |" for name, row in table.iterrows()]
    return lines


def write(kept: pd.DataFrame, facts: pd.DataFrame) -> None:
    """Write all tables that have figures to the results."""
    seeds = kept.groupby("part")["seed"].nunique()
    parts = [
        "# Detectors: AUROC",
        "",
        "`python benchmarks/outliers.py`. Percent, defaults everywhere. *unsupervised*: fitted and scored on the same",
        "rows; *reference*: fitted on half of the normal rows, scored on the rest and all outliers. PyOD gets",
        "standardised columns. Differences are paired by set (means over seeds first), with Student's interval over",
        "sets.",
    ]
    sections = {
        "quality": [
            ("Each detector beside PyOD's", singles(kept)),
            ("The default ensemble beside PyOD's", ensemble(kept)),
            ("By set", by_set(kept)),
        ],
        "published": [("Beside published figures (Livernoche et al. 2024, up to 50,000 rows)", published(kept, facts))],
        "copies": [("Near-copies of one odd row in the batch", copied(kept))],
    }
    for part, tables in sections.items():
        if part in seeds.index:
            for title, lines in tables:
                parts += ["", f"## {title}", "", f"{seeds[part]} seeds.", "", *lines]
    RESULTS.write_text("\n".join(parts) + "\n")
