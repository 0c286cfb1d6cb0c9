"""The feature store beside others: the point-in-time join of the past, and the online store.

    python3 benchmarks/peers_env.py .peers features_polars features_feast     # once: their environments
    .venv/bin/python -m benchmarks.features                                   # all halves, at full size

Each half measures into a file of its own, a line a measurement, and the page is written from all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import features_offline

HALVES = {"offline": features_offline}
"""Half -> module with `arguments(parser)`, `measure(choice, tell)` and `section(records)` (Markdown lines).

The online half goes here as `"online": features_online`.
"""

FOLDER = Path("docs/benchmarks")
PAGE = FOLDER / "features.md"


def main() -> None:
    """Measure, then write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--halves", type=lambda text: text.split(","), default=list(HALVES))
    parser.add_argument("--peers", type=Path, default=Path(".peers"), help="folder that benchmarks/peers_env.py made")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of features_HALF.jsonl; written anew")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--write-only", action="store_true", help="measure nothing; write the page")
    for half in HALVES.values():
        half.arguments(parser)
    choice = parser.parse_args()
    if unknown := sorted(set(choice.halves) - set(HALVES)):
        parser.error(f"{', '.join(unknown)}: not among {', '.join(HALVES)}")
    for name in [] if choice.write_only else choice.halves:
        with (choice.folder / f"features_{name}.jsonl").open("w", encoding="utf-8") as out:

            def tell(out: Any = out, **record: Any) -> None:
                line = json.dumps(record)
                print(line, flush=True)
                print(line, file=out, flush=True)

            tell(kind="run", **_machine())
            HALVES[name].measure(choice, tell)
    lines = ["# The feature store beside others", ""]
    for name, half in HALVES.items():
        path = choice.folder / f"features_{name}.jsonl"
        if path.is_file():
            lines += half.section([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])
    choice.page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(choice.page.read_text(encoding="utf-8"))


def _machine() -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0))
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    return {"day": day, "python": platform.python_version(), "cores": cores, "load": os.getloadavg()[0],
            "command": sys.argv[1:]}  # fmt: skip


if __name__ == "__main__":
    main()
