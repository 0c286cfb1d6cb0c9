"""The sacrificial child: loads one bundle and replays its golden rows; exit code 0 if it may answer."""

from __future__ import annotations

import sys
from pathlib import Path

from feature_store.errors import BundleRefused
from serving import predictor


def main() -> int:
    """`python -m serving.probe FOLDER TASK`; prints the reason of a refusal as its last line."""
    folder, task = Path(sys.argv[1]), sys.argv[2]
    try:
        loaded = predictor.load(folder)
        if loaded.task.task != task:
            raise BundleRefused(f"it is registered as {task} but its Task is {loaded.task.task}.")
    except BundleRefused as error:
        sys.stdout.write(str(error).replace("\n", " ") + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
