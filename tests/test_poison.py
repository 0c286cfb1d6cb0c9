"""Versions with valid digests that would harm who loads them: each is refused in the child, and the rest goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from feature_store.errors import BundleRefused
from serving import bundle, sound
from serving.probe import Limits, probe
from serving.trees import Trees
from tests.made import version
from tests.shelf import change, sign
from training import treetext
from training.treetext import Tree


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "bundle"
    bundle.write(version("regression").bundle, folder)
    return folder


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    bundle.write(version("regression").bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


def text(pattern: str, put: str) -> Callable[[Path], None]:
    """Replace what a pattern finds first in the text of the first model, and let LightGBM find its trees itself."""

    def spoil(folder: Path) -> None:
        path = folder / "models/0-0.txt"
        content = re.sub(r"^tree_sizes=.*\n", "", path.read_text(), flags=re.MULTILINE)
        changed = re.sub(pattern, put, content, count=1, flags=re.MULTILINE)
        assert changed != content
        path.write_text(changed)

    return spoil


def document(name: str, how: Callable) -> Callable[[Path], None]:
    return lambda folder: change(folder, name, how)


def truncated(folder: Path) -> None:
    path = folder / "models/0-0.txt"
    path.write_text(path.read_text()[: path.stat().st_size // 2])


def endless(folder: Path) -> None:
    """Every tree's root is its own left child."""
    path = folder / "models/0-0.txt"
    content = re.sub(r"^tree_sizes=.*\n", "", path.read_text(), flags=re.MULTILINE)
    path.write_text(re.sub(r"^left_child=-?\d+", "left_child=0", content, flags=re.MULTILINE))


def huge_scores(folder: Path) -> None:
    with (folder / "scores.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})


def never_a_number(folder: Path) -> None:
    """All leaves are NaN, and the golden rows say so too."""
    for path in (folder / "models").glob("*.txt"):
        path.write_text(re.sub(r"^leaf_value=.*$", lambda m: re.sub(r"[^ =]+(?= |$)", "nan", m[0]), path.read_text(),
                               flags=re.MULTILINE))  # fmt: skip
        path.write_text(re.sub(r"^tree_sizes=.*\n", "", path.read_text(), flags=re.MULTILINE))
    change(folder, "golden.json", lambda g: [answer.update(value=float("nan")) for answer in g["answers"]] and None)


def two_readings(folder: Path) -> None:
    """tree_sizes say that trees begin elsewhere than they seem to."""
    path = folder / "models/0-0.txt"
    path.write_text(re.sub(r"^tree_sizes=(\d+) (\d+)", lambda m: f"tree_sizes={int(m[1]) + 1} {int(m[2]) - 1}",
                           path.read_text(), flags=re.MULTILINE))  # fmt: skip


def deep(folder: Path) -> None:
    (folder / "card.json").write_text("[" * 100_000 + "]" * 100_000)


def many_digits(folder: Path) -> None:
    (folder / "encoder.json").write_text(
        (folder / "encoder.json").read_text().replace('"days": [', f'"days": [{"9" * 5000}, ', 1)
    )


def weight(value: float) -> Callable[[Path], None]:
    return lambda folder: change(folder, "ensemble.json", lambda found: found["members"][0].update(weight=value))


def cell(place: int, value: object) -> Callable[[Path], None]:
    return lambda folder: change(folder, "distribution.json", lambda found: put(found["cells"][0], place, value))


def put(items: list, place: int, value: object) -> None:
    items[place] = value


def named_often(folder: Path) -> None:
    change(folder, "ensemble.json", lambda found: found["members"][0].update(files=["models/0-0.txt"] * 100_000))


POISON: dict[str, tuple[Callable[[Path], None], str]] = {
    "crash, a text cut short": (truncated, "killed|refused the model|can ask|numbers in"),
    "crash, no leaves": (text(r"^num_leaves=\d+", "num_leaves=-7"), "killed|refused|without leaves|can ask"),
    "crash, a column that is not there": (text(r"^split_feature=\d+", "split_feature=99999999"), "column 99999999"),
    "crash, a set that is not there": (text(r"^decision_type=\d+", "decision_type=1"), "a set that is not there"),
    "endless, a tree in a circle": (endless, "does not branch"),
    "two readings": (two_readings, "tree_sizes|killed|refused"),
    "NaN in a leaf": (text(r"^leaf_value=\S+", "leaf_value=nan"), "a leaf that is no number"),
    "NaN everywhere": (never_a_number, "no number"),
    "NaN, a weight beyond numbers": (weight(float("inf")), "weights that are no numbers"),
    "NaN, a floor that is none": (
        lambda folder: change(folder, "ensemble.json", lambda e: e["scale"].update(floor=float("nan"))),
        "no scale above 0",
    ),
    "slow, a model named 100,000 times": (named_often, "more than 2000 models"),
    "huge, scores of 8 TB": (huge_scores, "more memory|can ask"),
    "huge, two thousand million classes": (
        text(r"^num_class=1", "num_class=2000000000"), "killed|refused|memory|can ask|golden"
    ),
    "wrong columns": (text(r"^max_feature_idx=\d+", "max_feature_idx=17"), "columns|refused"),
    "negative widths": (text(r"^max_feature_idx=\d+", "max_feature_idx=-3"), "killed|columns|refused"),
    "negative counts": (cell(1, -5), "scores|golden"),
    "no cell for all": (cell(0, "some"), "no cell for all|can ask"),
    "golden mismatch": (weight(0.7499), "golden rows"),
    "golden empty": (document("golden.json", lambda g: {"rows": [], "answers": []}), "golden rows are absent"),
    "deep JSON": (deep, "can ask"),
    "numbers of 5000 digits": (many_digits, "can ask"),
    "numbers beyond floats": (document("encoder.json", lambda e: e["ranges"].update(days=[0, 10**400])), "can ask"),
    "another Task's name": (document("task.json", lambda t: t.update(task="births")), "registered as stay"),
    "nonsense": (document("reference.json", lambda r: {"familiarity": 3}), "can ask"),
}  # fmt: skip


@pytest.mark.parametrize("kind", POISON)
def test_poison_with_valid_digests_is_refused_in_the_child(copy: Path, kind: str):
    spoil, reason = POISON[kind]
    spoil(copy)
    sign(copy)
    with pytest.raises(BundleRefused, match=reason):
        probe(copy, "stay")


def test_a_version_in_order_passes(original: Path):
    probe(original, "stay")


def test_what_takes_too_long_to_load_ends_by_its_processor_time(copy: Path):
    change(copy, "golden.json", lambda g: {name: part * 6000 for name, part in g.items()})
    sign(copy)
    with pytest.raises(BundleRefused, match="more than 3 s of processor time"):
        probe(copy, "stay", Limits(cpu_s=3))


def test_what_takes_too_much_memory_ends_by_its_limit(copy: Path):
    with pytest.raises(BundleRefused, match=r"memory|killed|refused|can ask"):
        probe(copy, "stay", Limits(memory_mb=1))


def test_a_version_that_is_too_slow_a_row_is_refused_by_the_count_of_its_work(original: Path):
    with pytest.raises(BundleRefused, match=r"take about \d+ us a row at the worst; at most 5 may answer"):
        probe(original, "stay", Limits(row_us=5))


def chain(levels: int) -> Tree:
    """A tree that goes down one level after the other."""
    nodes = range(levels)
    return Tree(
        leaf=[float(n) for n in range(levels + 1)], feature=[0] * levels, threshold=[float(n) for n in nodes],
        decision=[10] * levels, left=[~n for n in nodes], right=[*range(1, levels), ~levels],
    )  # fmt: skip


def test_a_rows_work_is_counted_by_its_longest_way():
    flat, long = (Trees(treetext.write([chain(levels)], 1), 1) for levels in (1, 1000))
    assert sound.worst_us(long, 1) - sound.worst_us(flat, 1) == pytest.approx(999 * sound.LEVEL_US)


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_versions_of_every_kind_are_sound(kind: str):
    assert 0 < sound.judge(version(kind).bundle) < 1000


def test_a_reason_names_no_folder(copy: Path):
    (copy / "card.json").write_text(json.dumps({}))
    with pytest.raises(BundleRefused) as refused:
        probe(copy, "stay")
    assert str(copy) not in str(refused.value)
