"""Look the installed packages up among known vulnerabilities: ``make audit-deps``; no answer is a skip, and is told."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from typing import Any

__all__ = ["judged", "main"]

OURS = "poison-guard"


def judged(answer: str, error: str) -> tuple[int, list[str]]:
    """Return exit code and lines for what pip-audit printed: 1 where a package has a known vulnerability."""
    try:
        packages: list[dict[str, Any]] = [each for each in json.loads(answer)["dependencies"] if each["name"] != OURS]
    except (ValueError, KeyError, TypeError):
        last = (error.strip().splitlines() or ["pip-audit printed nothing"])[-1]
        return 0, [f"skipped: the database of vulnerabilities did not answer: {last[:300]}"]
    audited = [each for each in packages if "skip_reason" not in each]
    lines = [
        f"{each['name']} {each['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'none yet'}"
        for each in audited
        for flaw in each.get("vulns", ())
    ]
    if not audited:
        why = packages[0]["skip_reason"] if packages else "nothing is installed"
        return 0, [
            f"skipped: the database of vulnerabilities did not answer for any of {len(packages)} packages: {why}"
        ]
    unknown = f", no answer for {len(packages) - len(audited)}" if len(audited) < len(packages) else ""
    return int(bool(lines)), [*lines, f"{len(audited)} packages looked up{unknown}; {len(lines)} known vulnerabilities"]


def main(tool: str) -> int:
    """Run pip-audit over this environment and print what it says; return the exit code."""
    command = [tool, "--path", sysconfig.get_path("purelib"), "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    code, lines = judged(done.stdout, done.stderr)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
