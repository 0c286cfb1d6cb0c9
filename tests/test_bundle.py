"""A version is files with digests: whatever is altered is refused before a parser sees it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from feature_store.errors import BundleRefused
from serving import bundle, predictor
from serving.probe import probe
from tests.conftest import Home
from tests.made import version


@pytest.fixture(scope="module", params=["regression", "binary", "multiclass"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / "bundle"
    bundle.write(version(request.param).bundle, folder)
    return folder


def task_of(folder: Path) -> str:
    return str(json.loads((folder / "task.json").read_text())["task"])


@pytest.fixture
def copy(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "bundle"))


def test_a_bundle_reads_back_and_reproduces_its_golden_rows(original):
    assert len(predictor.load(original).bundle.golden["rows"]) >= 20


def test_a_bundle_holds_no_row_of_the_table(trained: Home):
    learnt = next((trained.home / "runs").glob("*/bundle"))
    weeks = pq.read_table(
        next(trained.data.rglob("*.parquet")), columns=["mager", "pwgt_r", "dwgt_r", "m_ht_in"]
    ).to_pylist()
    real = {(r["mager"], round(r["m_ht_in"] * 2.54, 1)) for r in weeks if r["mager"] and r["m_ht_in"]}
    golden = json.loads((learnt / "golden.json").read_text())["rows"]
    made = {(row.get("mother_age"), row.get("height_cm")) for row in golden}
    assert len(made & real) <= 1, "golden rows are drawn field by field, so a match is chance"


def test_nothing_in_a_bundle_is_a_pickle(original):
    for path in original.rglob("*"):
        if path.is_file():
            assert path.suffix in {".json", ".txt", ".npy"}
            assert path.read_bytes()[:1] != b"\x80"


def every_file(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "digests.json")


def test_a_truncated_file_is_refused_by_its_size(copy):
    for path in every_file(copy):
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(BundleRefused, match="bytes, not"):
            bundle.read(copy)
        path.write_bytes(content)
    bundle.read(copy)


def test_one_flipped_bit_is_refused_by_its_digest(copy):
    for path in every_file(copy):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
        with pytest.raises(BundleRefused, match="was altered"):
            bundle.read(copy)
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
    bundle.read(copy)


def test_a_truncated_model_never_reaches_lightgbm(copy):
    """LightGBM's parser kills the process on such a text, so this very process would die of it."""
    model = next((copy / "models").glob("*.txt"))
    model.write_text(model.read_text()[: len(model.read_text()) // 2])
    with pytest.raises(BundleRefused, match=model.name):
        predictor.load(copy)


def test_a_file_that_is_missing_or_not_listed_is_refused(copy):
    (copy / "extra.json").write_text("{}")
    with pytest.raises(BundleRefused, match=r"extra\.json is not listed"):
        bundle.read(copy)
    (copy / "extra.json").unlink()
    (copy / "card.json").unlink()
    with pytest.raises(BundleRefused, match=r"card\.json is missing"):
        bundle.read(copy)


def sign(folder: Path) -> None:
    """Write digests that fit what is there: what someone with write access to the registry can do."""
    (folder / "digests.json").unlink()
    files = {
        str(path.relative_to(folder)): {"sha256": bundle._sha256(path.read_bytes()), "bytes": path.stat().st_size}
        for path in every_file(folder)
    }
    (folder / "digests.json").write_text(json.dumps({"files": files}))


def test_altered_numbers_with_fitting_digests_do_not_reproduce_the_golden_rows(copy):
    card = json.loads((copy / "ensemble.json").read_text())
    card["members"][0]["weight"] *= 0.999
    (copy / "ensemble.json").write_text(json.dumps(card))
    sign(copy)
    with pytest.raises(BundleRefused, match="golden rows"):
        predictor.load(copy)


def test_a_poisoned_model_with_fitting_digests_dies_in_the_child_only(copy):
    model = next((copy / "models").glob("*.txt"))
    model.write_text(model.read_text()[: len(model.read_text()) // 2])
    sign(copy)
    with pytest.raises(BundleRefused):
        probe(copy, task_of(copy))


@pytest.mark.parametrize("document", ["task", "encoder", "ensemble", "distribution", "golden"])
def test_nonsense_with_fitting_digests_is_refused_in_words(copy, document):
    (copy / f"{document}.json").write_text(json.dumps({"format": bundle.FORMAT}))
    sign(copy)
    with pytest.raises(BundleRefused, match="is not a bundle that this server reads"):
        predictor.load(copy)


def test_a_bundle_of_another_format_is_refused_with_what_to_do(copy):
    ensemble = json.loads((copy / "ensemble.json").read_text())
    (copy / "ensemble.json").write_text(json.dumps(ensemble | {"format": 1}))
    sign(copy)
    with pytest.raises(BundleRefused, match=r"bundle format 1, this server reads \d\. Update it"):
        predictor.load(copy)


def test_a_pickle_in_place_of_the_scores_is_not_run(copy):
    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {copy}/../ran",)

    (copy / "scores.npy").write_bytes(pickle.dumps(Bomb()))
    sign(copy)
    with pytest.raises(BundleRefused):
        predictor.load(copy)
    assert not (copy / "../ran").exists()


def test_a_version_registered_under_another_task_is_refused(original):
    with pytest.raises(BundleRefused, match="It is registered as hits"):
        probe(original, "hits")


def test_a_link_that_this_server_does_not_know_is_refused(copy):
    ensemble = json.loads((copy / "ensemble.json").read_text())
    ensemble["members"][0]["link"] = "probit"
    (copy / "ensemble.json").write_text(json.dumps(ensemble))
    sign(copy)
    with pytest.raises(BundleRefused, match="the link 'probit', which this server does not know"):
        predictor.load(copy)


def test_a_version_in_order_loads_in_the_child_too(copy):
    probe(copy, task_of(copy))
