"""Make the environments of the peers that Gancao is measured beside, one each, with the releases that were measured.

    python3 benchmarks/peers_env.py [FOLDER] [NAME ...]        # default: .peers, and all of them

Plain venv and pip, since torch comes from where pip is told to look (a CPU build on this machine). An environment
that is whole is left as it is. With --refresh the newest releases are taken and the lock files written anew.
Of AutoGluon's optional models those are taken that need no weights from a hub: LightGBM, CatBoost, XGBoost, fastai;
and Ray, with which it fits folds side by side.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

LOCKS = Path(__file__).parent / "contestants/locks"

TORCH = "torch==2.13.0"
PEERS = {
    "lightgbm": ["lightgbm", "scikit-learn"],
    "flaml": ["flaml>=2.5,<3", "lightgbm", "xgboost-cpu<3", "catboost", "scikit-learn"],
    "autogluon": [TORCH, "autogluon.tabular[lightgbm,catboost,xgboost,fastai,ray]==1.6.*"],
    "lightautoml": [TORCH, "lightautoml"],
    "intervals": ["mapie", "crepes", "lightgbm", "scikit-learn"],
    "mlflow_serve": ["mlflow", "lightgbm"],
    "bentoml": ["bentoml", "lightgbm"],
    "mlserver": ["mlserver", "mlserver-lightgbm", "lightgbm"],
    "features_polars": ["polars"],
    "features_feast": ["feast[duckdb,redis]==0.67.*"],
}
"""Peer -> what is asked of pip."""

COMMON = ["pandas<3", "pyarrow"]
"""pandas 3 reads words as another type than the one these releases know."""


def main() -> None:
    """Make those that are absent or half made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(".peers"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PEERS)}; default: all")
    parser.add_argument("--refresh", action="store_true")
    choice = parser.parse_args()
    if unknown := sorted(set(choice.names) - set(PEERS)):
        parser.error(f"{', '.join(unknown)}: not among {', '.join(PEERS)}")
    for name in choice.names or PEERS:
        make(name, choice.folder / name, choice.refresh)


def make(name: str, folder: Path, refresh: bool) -> None:
    """One environment; the file `made` in it says that it is whole. Raises CalledProcessError when pip fails."""
    lock, made = LOCKS / f"{name}.txt", folder / "made"
    if not refresh and made.is_file() and made.read_text() == lock.read_text():
        print(f"{name}: there already, {folder}")
        return
    print(f"{name}: making {folder}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if TORCH in PEERS[name]:  # first and alone, so that pip takes the CPU build and nothing asks for another
        subprocess.run([*install, TORCH], check=True)
    wanted = [*PEERS[name], *COMMON] if refresh else ["--requirement", str(lock)]
    subprocess.run([*install, *wanted], check=True)
    if refresh:
        lock.write_text(frozen(folder))
    made.write_text(lock.read_text())


def frozen(folder: Path) -> str:
    """The installed releases as a lock; torch is left out, since it is installed first and its build has a suffix."""
    listing = ["-m", "pip", "list", "--format", "freeze", "--exclude", "torch", "--exclude", "pip"]
    done = subprocess.run([str(folder / "bin/python"), *listing], capture_output=True, text=True, check=True)
    return done.stdout


if __name__ == "__main__":
    main()
