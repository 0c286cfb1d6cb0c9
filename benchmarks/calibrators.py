"""What each correction of chances gives, on generated, scikit-learn's and the shared tables.

    GANCAO_DATA=../shared/data .venv/bin/python -m benchmarks.calibrators

As in a training: five folds give out-of-fold chances, corrections are fitted on them, and a model of all rows, or the
mean of the folds' models, is corrected and judged on rows that nothing has seen. `chosen` is what `training.calibrate`
takes by the out-of-fold rows alone. Real tables are read where they are there. Writes docs/benchmarks/calibrators.md;
about two minutes of one core.
"""

from __future__ import annotations

import time
import timeit
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from feature_store.settings import from_environment
from feature_store.task import Kind
from serving.scaling import Method
from training import calibrate, scalings
from training.losses import loss

OUT = Path("docs/benchmarks/calibrators.md")
MOST_ROWS = 8000
PRENATAL = ["mager", "pwgt_r", "m_ht_in", "cig_0", "priorlive", "urf_diab", "urf_phyper", "sex", "dplural", "combgest",
            "previs"]  # fmt: skip
"""Fields of the births that are known before birth."""
Table = tuple[np.ndarray, np.ndarray]
Correction = Callable[[np.ndarray], np.ndarray]


def tables() -> dict[str, Table]:
    """By name: (n, fields) numbers, and (n,) places of the classes."""
    out: dict[str, Table] = {}
    for n, share in ((1000, 0.5), (8000, 0.5), (8000, 0.1)):
        made = datasets.make_classification(
            n, 20, n_informative=8, weights=[1 - share], flip_y=0.1, class_sep=0.7, random_state=n
        )
        out[f"made, {n} rows, {share:.0%} positive"] = made
    out["made, 4000 rows, 4 classes"] = datasets.make_classification(
        4000, 20, n_informative=8, n_classes=4, flip_y=0.1, class_sep=0.8, random_state=4
    )
    for name in ("breast_cancer", "digits", "wine"):
        out[name] = getattr(datasets, f"load_{name}")(return_X_y=True)
    return out | shared(from_environment().data)


def shared(folder: Path) -> dict[str, Table]:
    """Of the real tables those that are there, thinned to MOST_ROWS."""
    out: dict[str, Table] = {}
    if (path := folder / "customer_response/bank_additional_full.parquet").exists():
        out["bank"] = _numbers(pd.read_parquet(path).drop(columns="duration"), "y")
    if (path := folder / "birth_weight/natality_2014_100k.parquet").exists():
        births = pd.read_parquet(path, columns=[*PRENATAL, "dbwt"]).dropna(subset="dbwt")
        out["low birth weight"] = _numbers(births.assign(low=births.pop("dbwt") < 2500), "low")
    if (path := folder / "yield_rate/steel_plates_faults.parquet").exists():
        plates = pd.read_parquet(path)
        kinds = ["Pastry", "Z_Scratch", "K_Scatch", "Stains", "Dirtiness", "Bumps", "Other_Faults"]
        out["steel plates"] = _numbers(plates.drop(columns=kinds).assign(kind=plates[kinds].idxmax(axis=1)), "kind")
    return out


def _numbers(table: pd.DataFrame, target: str) -> Table:
    part = table.sample(min(MOST_ROWS, len(table)), random_state=0)
    fields = pd.get_dummies(part.drop(columns=target), dtype=float)
    return fields.fillna(fields.median()).to_numpy(float), pd.factorize(part[target], sort=True)[0]


def learners() -> dict[str, Callable[[], ClassifierMixin]]:
    """Base learners by name, each as a maker of an unfitted one."""
    quiet = {"verbosity": -1, "num_threads": 1, "random_state": 0}
    return {
        "lightgbm": lambda: lightgbm.LGBMClassifier(**quiet),
        "lightgbm, too sure": lambda: lightgbm.LGBMClassifier(
            n_estimators=200, num_leaves=63, learning_rate=0.15, min_child_samples=5, max_bin=63, **quiet
        ),
        "linear": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
        "naive Bayes": GaussianNB,
    }


def candidates(kind: Kind) -> tuple[str, ...]:
    """The corrections of a kind, and those that were tried beside them."""
    if kind == "binary":
        return calibrate.METHODS[kind]
    return (*calibrate.METHODS[kind], "a slope a class", "each class: beta", "each class: isotonic")


def correction(name: str, chances: np.ndarray, target: np.ndarray) -> Correction:
    """What the fitted correction makes of (n, classes) chances."""
    ones = np.ones(len(target))
    if name.startswith("each class: "):
        method: Method = "beta" if name.endswith("beta") else "isotonic"
        sides = [
            scalings.fit(method, _two(chances[:, k]), (target == k).astype(float), ones)
            for k in range(chances.shape[1])
        ]

        def each(given: np.ndarray) -> np.ndarray:
            parts = [scalings.corrected(side, _two(given[:, k]))[:, 1] for k, side in enumerate(sides)]
            return np.column_stack(parts) / np.sum(parts, axis=0)[:, None]

        return each
    fitted = scalings.fit("beta" if name == "a slope a class" else name, chances, target, ones)  # type: ignore[arg-type]
    return lambda given: scalings.corrected(fitted, given)


def _two(chance: np.ndarray) -> np.ndarray:
    return np.column_stack([1 - chance, chance])


@dataclass(frozen=True)
class Line:
    """Log loss on unseen rows by correction: of one model of all rows, of the folds' models each corrected before their
    mean is taken (`bag`), and of their mean corrected (`mean`)."""

    title: str
    refit: dict[str, float]
    bag: dict[str, float]
    mean: dict[str, float]
    chosen: str


def measure(title: str, table: Table, make: Callable[[], ClassifierMixin], seed: int = 0) -> Line:
    """Fit a learner on half of a table, correct it every way, and judge it on the other half."""
    x, y = table
    seen_x, new_x, seen_y, new_y = train_test_split(x, y, test_size=0.5, random_state=seed, stratify=y)
    count = int(y.max()) + 1
    oof, each = np.empty((len(seen_y), count)), []
    for fit, valid in StratifiedKFold(5, shuffle=True, random_state=seed).split(seen_x, seen_y):
        model = make().fit(seen_x[fit], seen_y[fit])
        oof[valid] = model.predict_proba(seen_x[valid])
        each.append(model.predict_proba(new_x))
    refit = make().fit(seen_x, seen_y).predict_proba(new_x)
    kind: Kind = "binary" if count == 2 else "multiclass"
    truth, ones = seen_y.astype(float), np.ones(len(seen_y))
    crossed = calibrate.crossed_by(calibrate.METHODS[kind], oof, truth, ones, seed)
    ways = {name: correction(name, oof, truth) for name in candidates(kind)}
    answers = [
        {name: way(refit) for name, way in ways.items()},
        {name: np.mean([way(one) for one in each], axis=0) for name, way in ways.items()},
        {name: way(np.mean(each, axis=0)) for name, way in ways.items()},
    ]
    losses = [{name: loss("log_loss", new_y, given) for name, given in one.items()} for one in answers]
    return Line(title, *losses, calibrate.choose(crossed, truth, ones))


def false_alarms(kind: Kind, n: int, seeds: int) -> int:
    """How often honest chances are corrected."""
    wrong = 0
    for seed in range(seeds):
        random = np.random.default_rng([seed, n])
        raw = random.normal(size=(n, 2 if kind == "binary" else 5)) * 1.5
        chances = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
        target = (random.random(n)[:, None] > np.cumsum(chances, axis=1)).sum(axis=1).clip(0, raw.shape[1] - 1)
        ones = np.ones(n)
        crossed = calibrate.crossed_by(calibrate.METHODS[kind], chances, target.astype(float), ones, seed)
        wrong += calibrate.choose(crossed, target.astype(float), ones) != "identity"
    return wrong


def row_us() -> str:
    """Microseconds that each correction of two classes takes for a row, fitted on 20,000."""
    random = np.random.default_rng(0)
    p = random.beta(1, 3, 20_000)
    told, target = _two(p), (random.random(20_000) < p**1.3).astype(float)
    rows, out = told[:2000].tolist(), []
    for method in calibrate.METHODS["binary"]:
        made = scalings.fit(method, told, target, np.ones(20_000))
        best = min(timeit.repeat(lambda made=made: [made.of(row) for row in rows], number=1, repeat=7))
        out.append(f"{method} {best / len(rows) * 1e6:.1f}")
    return ", ".join(out)


def section(kind: Kind, lines: list[Line]) -> str:
    """The table of a kind: a line a table and learner, and the mean and worst change of each correction."""
    names = candidates(kind)
    out = [
        f"\n## {kind.capitalize()}\n",
        f"| table, learner | {' | '.join(names)} | chosen | its regret |",
        "|---" * (len(names) + 3) + "|",
    ]
    for line in lines:
        best = min(line.refit, key=line.refit.__getitem__)
        cells = [f"**{line.refit[name]:.4f}**" if name == best else f"{line.refit[name]:.4f}" for name in names]
        regret = line.refit[line.chosen] / line.refit[best] - 1
        out.append(f"| {line.title} | {' | '.join(cells)} | {line.chosen} | {regret:.1%} |")
    for way, found in (
        ("refit", [line.refit for line in lines]),
        ("bag", [line.bag for line in lines]),
        ("mean", [line.mean for line in lines]),
    ):
        chosen = [losses[line.chosen] for line, losses in zip(lines, found, strict=True)]
        for word, summary in (("mean", np.mean), ("worst", np.max)):
            every = [summary([losses[name] / losses["identity"] - 1 for losses in found]) for name in names]
            ours = summary([one / losses["identity"] - 1 for one, losses in zip(chosen, found, strict=True)])
            regret = summary([one / min(losses.values()) - 1 for one, losses in zip(chosen, found, strict=True)])
            changes = " | ".join(f"{one:+.1%}" for one in every)
            out.append(f"| {word} change, {way} | {changes} | {ours:+.1%} | {regret:.1%} |")
    return "\n".join(out) + "\n"


def main() -> None:
    """Measure all and write."""
    warnings.filterwarnings("ignore")
    start = time.process_time()
    found: dict[Kind, list[Line]] = {"binary": [], "multiclass": []}
    for name, table in tables().items():
        for learner, make in learners().items():
            kind: Kind = "binary" if table[1].max() == 1 else "multiclass"
            found[kind].append(measure(f"{name}, {learner}", table, make))
    alarms = [f"{false_alarms(kind, n, 200)} of 200 tables of {n:,} rows ({kind})"
              for kind, n in (("binary", 200), ("binary", 2000), ("multiclass", 1000))]  # fmt: skip
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("lightgbm", "scikit-learn", "numpy"))
    head = (
        "# Corrections of chances\n\n"
        f"Made by `GANCAO_DATA=../shared/data .venv/bin/python -m benchmarks.calibrators` on "
        f"{datetime.now(UTC):%Y-%m-%d} with {versions}, in "
        f"{time.process_time() - start:.0f} s of one core. Corrections are fitted on out-of-fold chances of half of "
        "each table (five folds, seed 0); the log loss is that of a model of the whole half on the other half. "
        "**Bold** is the best in hindsight; `chosen` is what the out-of-fold rows alone chose, and its regret how far "
        "it is above the best. The last lines are changes from `identity`, over all lines, for the model of the whole "
        "half (refit), for the folds' models, each corrected before their mean is taken (bag: what the server does), "
        "and for their mean, corrected (mean). The mean is less sure than each of the models, and a correction that "
        "was fitted on these makes it less sure still.\n\n"
        f"A row of two classes takes, in microseconds: {row_us()}.\n\n"
        f"Honest chances were corrected in {', '.join(alarms)}.\n"
    )
    OUT.write_text("".join([head, *(section(kind, lines) for kind, lines in found.items())]), encoding="utf-8")
    print(OUT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
