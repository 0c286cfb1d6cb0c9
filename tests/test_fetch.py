"""Versions on their way to the workers: what is damaged never arrives, what is in the cache needs no registry."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from feature_store.errors import BundleRefused
from feature_store.settings import Settings
from serving import bundle, cache, predictor
from serving.fetch import Fetcher
from tests.conftest import Server, serving, until
from tests.made import version
from tests.shelf import Shelf, change, other, sign
from tests.test_poison import POISON

FULL = os.environ.get("GANCAO_PROOFS") == "full"
KINDS = {"stay": "regression", "readmission": "binary", "destination": "multiclass"}
ROWS = version("regression").rows[:8]


@pytest.fixture
def shelf(tmp_path: Path, empty_registry: Path) -> Shelf:
    """A registry with one champion of `stay`."""
    made = Shelf(tmp_path, empty_registry)
    made.champion("stay", version("regression").bundle)
    return made


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second version as a folder, in order."""
    folder = tmp_path_factory.mktemp("original") / "bundle"
    bundle.write(other("regression"), folder)
    return folder


def settings(shelf: Shelf) -> Settings:
    return Settings(home=shelf.home.home)


@dataclass
class Asked:
    """What clients got while something else went on: statuses, and by version every value that was answered."""

    statuses: list[int] = field(default_factory=list)
    answers: set[tuple[str, tuple[float, ...]]] = field(default_factory=set)

    @property
    def versions(self) -> set[str]:
        return {version for version, _ in self.answers}


@contextmanager
def asking(server: Server, clients: int = 2) -> Iterator[Asked]:
    """Clients that ask without a pause until the block ends; a request that gets no answer counts as status 0."""
    stop, asked = threading.Event(), Asked()

    def ask() -> None:
        with httpx.Client(base_url=server.base, timeout=30) as client:
            while not stop.is_set():
                try:
                    response = client.post("/v1/stay/predict", json={"rows": ROWS})
                except httpx.HTTPError:
                    asked.statuses.append(0)
                    continue
                asked.statuses.append(response.status_code)
                if response.status_code == 200:
                    found = response.json()
                    asked.answers.add((found["version"], tuple(answer["value"] for answer in found["answers"])))

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield asked
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def refused(server: Server, task: str, number: str) -> str:
    """Why a version was not let in, once it is known."""
    return until(lambda: server.get("/readyz").json()["refused"].get(task, {}).get(number), 60, server.log.read_text)


# --- damage on the way

Damage = Callable[[Path, random.Random], None]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def cut(folder: Path, moment: random.Random) -> None:
    path = moment.choice(files(folder))
    path.write_bytes(path.read_bytes()[: moment.randrange(path.stat().st_size)])


def flip(folder: Path, moment: random.Random) -> None:
    path = moment.choice(files(folder))
    content = bytearray(path.read_bytes())
    content[moment.randrange(len(content))] ^= 1 << moment.randrange(8)
    path.write_bytes(bytes(content))


def swap(folder: Path, moment: random.Random) -> None:
    one, two = moment.sample(files(folder), 2)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def zero(folder: Path, moment: random.Random) -> None:
    """A page of the disk that came back empty."""
    path = moment.choice(files(folder))
    content = bytearray(path.read_bytes())
    start = moment.randrange(len(content)) // 4096 * 4096
    content[start : start + 4096] = bytes(len(content[start : start + 4096]))
    path.write_bytes(bytes(content))


@pytest.mark.proof
def test_no_corruption_of_a_version_gets_in_ends_a_worker_or_fails_a_request(shelf: Shelf, original: Path):
    """In full 500 corruptions, 125 of each kind; 40 else."""
    moment, count, kinds = random.Random(0), 500 if FULL else 40, (cut, flip, swap, zero)
    with serving(shelf.home) as server, asking(server) as asked:
        workers = server.children("serving.app")
        for number in range(count):
            kind = kinds[number % 4]
            spoilt = shelf.champion("stay", original, lambda folder, kind=kind: kind(folder, moment))
            assert refused(server, "stay", spoilt)
        assert server.children("serving.app") == workers
    assert set(asked.statuses) == {200}
    assert asked.versions == {"1"}
    assert '"child_died"' not in server.log.read_text()


@pytest.mark.proof
def test_poison_is_refused_by_a_running_server_which_goes_on(shelf: Shelf, original: Path):
    """In full every kind of `tests/test_poison.py`; 4 else."""
    kinds = list(POISON) if FULL else list(POISON)[::6]
    with serving(shelf.home) as server, asking(server) as asked:
        workers = server.children("serving.app")
        for kind in kinds:

            def spoil(folder: Path, kind: str = kind) -> None:
                shutil.rmtree(folder)
                bundle.write(version("regression").bundle, folder)
                POISON[kind][0](folder)
                sign(folder)

            assert refused(server, "stay", shelf.champion("stay", original, spoil)), kind
        assert server.children("serving.app") == workers
    assert (set(asked.statuses), asked.versions) == ({200}, {"1"})


# --- promotions


@pytest.mark.proof
def test_promotions_and_rollbacks_under_load_fail_no_request_and_mix_no_versions(shelf: Shelf):
    """In full 100, 3 else, with two workers; every row of every answer is its version's own, to the bit."""
    second = shelf.put("stay", other("regression"))
    expected = {
        (number, tuple(answer["value"] for answer in predictor.Predictor(made).answer(ROWS)))
        for number, made in (("1", version("regression").bundle), (second, other("regression")))
    }
    with serving(shelf.home, "--workers", "2") as server, asking(server, 4) as asked:
        for turn in range(100 if FULL else 3):
            wanted = (second, "1")[turn % 2]
            shelf.name("stay", "champion", wanted)
            until(
                lambda wanted=wanted: {server.get("/v1/stay").json()["version"] for _ in range(8)} == {wanted},
                30,
                server.log.read_text,
            )
    assert set(asked.statuses) == {200}
    assert asked.answers == expected


def test_a_rollback_needs_no_copy_from_the_registry(shelf: Shelf):
    fetcher = Fetcher(settings(shelf))
    fetcher.look()
    second = shelf.champion("stay", other("regression"))
    fetcher.look()
    for place in (shelf.home.home.parent / "versions").iterdir():
        shutil.rmtree(place)
    shelf.name("stay", "champion", "1")
    fetcher.look()
    assert cache.published(settings(shelf).cache)["stay"].version == "1"
    assert cache.refused(settings(shelf).cache) == {}
    assert second == "2"


def test_the_cache_keeps_champion_challenger_and_the_champion_before(shelf: Shelf):
    fetcher, root = Fetcher(settings(shelf)), settings(shelf).cache
    kept = {}
    for number in ("2", "3", "4"):
        shelf.name("stay", "champion", shelf.put("stay", other("regression")))
        if number == "3":
            shelf.name("stay", "challenger", "1")
        fetcher.look()
        kept[number] = sorted(path.name.split("-")[0] for path in (root / "stay/versions").iterdir())
    assert kept == {"2": ["2"], "3": ["1", "2", "3"], "4": ["1", "3", "4"]}
    assert {name.split("-")[0] for name in cache.read(root / "stay/kept.json")} == {"1", "3", "4"}
    assert not list(root.glob(".fetch-*"))


def test_what_a_killed_fetcher_left_behind_goes_after_an_hour(shelf: Shelf):
    root = settings(shelf).cache
    for name, age_s in ((".fetch-old", 7200), (".fetch-new", 10)):
        (root / name / "bundle").mkdir(parents=True)
        os.utime(root / name, (time.time() - age_s,) * 2)
    Fetcher(settings(shelf)).look()
    assert [path.name for path in root.glob(".fetch-*")] == [".fetch-new"]


# --- the cache


def test_without_a_registry_every_request_is_answered_also_after_a_restart(shelf: Shelf):
    database = shelf.home.home / "mlflow.db"
    with serving(shelf.home) as server, asking(server) as asked:
        until(lambda: server.get("/readyz").json()["degraded"] is False, 20, server.log.read_text)
        database.rename(database.with_suffix(".away"))
        until(lambda: server.get("/readyz").json()["degraded"], 20, server.log.read_text)
    with serving(shelf.home) as server, asking(server) as again:
        state = until(lambda: (s := server.get("/readyz").json())["degraded"] and s, 20, server.log.read_text)
        assert (state["ready"], state["registry"]["reachable"]) == (True, False)
        assert "gancao_registry_reachable 0" in server.get("/metrics").text
    assert set(asked.statuses) == set(again.statuses) == {200}
    assert not database.exists(), "the fetcher makes no registry of its own"


def damage(folder: Path) -> None:
    """One bit of one model, as a disk may do it."""
    path = next((folder / "models").iterdir())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_a_version_damaged_in_the_cache_of_a_running_server_is_fetched_again(shelf: Shelf):
    with serving(shelf.home) as server, asking(server) as asked:
        here = cache.published(settings(shelf).cache)["stay"].folder
        damage(here)
        until(lambda: '"cache_damaged"' in server.log.read_text(), 20, server.log.read_text)
        until(lambda: whole(here), 20, server.log.read_text)
    assert set(asked.statuses) == {200}


def whole(folder: Path) -> bool:
    try:
        return bool(bundle.verified(folder))
    except (BundleRefused, OSError):
        return False


@pytest.mark.parametrize("what", ["bundle", "pointer", "all"])
def test_a_cache_damaged_between_two_runs_is_fetched_again(shelf: Shelf, what: str):
    root = settings(shelf).cache
    with serving(shelf.home):
        here = cache.published(root)["stay"].folder
    if what == "bundle":
        damage(here)
    elif what == "pointer":
        (root / "stay/champion").write_text('{"version": "1", "fol')
    else:
        shutil.rmtree(root)
    with serving(shelf.home) as server:  # ready only once it answers
        assert server.post("/v1/stay/predict", json={"rows": ROWS}).json()["version"] == "1"
    assert whole(here)


def test_damage_that_leaves_size_and_time_alone_is_found_when_the_fetcher_begins(shelf: Shelf):
    root = settings(shelf).cache
    Fetcher(settings(shelf)).look()
    path = next((cache.published(root)["stay"].folder / "models").iterdir())
    at = path.stat()
    damage(path.parents[1])
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert not whole(path.parents[1])
    Fetcher(settings(shelf)).look()
    assert whole(path.parents[1])


# --- the registry


def test_a_refused_version_is_told_by_readyz_metrics_and_log_until_it_is_gone(shelf: Shelf, original: Path):
    with serving(shelf.home) as server:
        spoilt = shelf.champion("stay", original, damage)
        assert "was altered" in refused(server, "stay", spoilt)
        metrics = server.get("/metrics").text
        assert f'gancao_version_refused{{task="stay",version="{spoilt}"}} 1' in metrics
        assert 'gancao_version_serving{task="stay",version="1"} 1' in metrics
        assert "gancao_registry_reachable 1" in metrics
        assert server.log.read_text().count('"version_refused"') == 1, "once, not at every look"
        assert str(shelf.home.home) not in server.get("/readyz").text
        shelf.name("stay", "champion", "1")
        until(lambda: not server.get("/readyz").json()["refused"], 20, server.log.read_text)
        assert "gancao_version_refused" not in server.get("/metrics").text


def test_a_version_whose_files_are_gone_is_told_and_keeps_no_other_out(shelf: Shelf, original: Path):
    shelf.champion("stay", original, shutil.rmtree)
    shelf.champion("readmission", version("binary").bundle)
    Fetcher(settings(shelf)).look()
    root = settings(shelf).cache
    assert set(cache.published(root)) == {"readmission"}
    assert "could not be copied" in cache.refused(root)["stay"]["2"]


def test_more_models_than_a_page_of_the_registry_are_all_found(shelf: Shelf):
    for number in range(120):
        shelf.client.create_registered_model(f"a_{number:03d}")
    Fetcher(settings(shelf)).look()
    assert set(cache.published(settings(shelf).cache)) == {"stay"}


def test_a_bundle_that_is_larger_than_any_is_refused_before_it_is_copied(shelf: Shelf, original: Path):
    def spoil(folder: Path) -> None:
        with (folder / "models/0-0.txt").open("r+b") as file:
            file.truncate(bundle.MAX_BYTES + 1)  # of holes: it takes no room

    shelf.champion("stay", original, spoil)
    Fetcher(settings(shelf)).look()
    assert "bytes" in cache.refused(settings(shelf).cache)["stay"]["2"]


# --- malice


def python_beside(folder: Path, marker: Path) -> None:
    """Everything that MLflow itself would run of a model: code, loader module, pickled model, environment."""
    here = folder.parents[1]
    run = f"open({str(marker)!r}, 'w').close()\n"
    (here / "code").mkdir()
    (here / "code/evil.py").write_text(run)
    (here / "python_model.pkl").write_bytes(b"cposix\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.")
    (here / "requirements.txt").write_text("-e ./code\n")
    (here / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: evil\n    code: code\n    python_model: python_model.pkl\n"
        f"x: !!python/object/apply:os.system ['touch {marker}']\n"
    )


def pickled(folder: Path, marker: Path) -> None:
    (folder / "scores.npy").write_bytes(b"cposix\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.")
    sign(folder)


def pickled_array(folder: Path, marker: Path) -> None:
    """A real .npy whose items are a pickle."""
    with (folder / "scores.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (3,)})
        file.write(b"cposix\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.")
    sign(folder)


def code_in_an_array(folder: Path, marker: Path) -> None:
    header = f"{{'descr': __import__('os').system('touch {marker}'), 'fortran_order': False, 'shape': (1,)}}"
    (folder / "scores.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    sign(folder)


def code_listed(folder: Path, marker: Path) -> None:
    """Modules that Python imports by itself, or that the child imports, beside the bundle's files."""
    for name in ("sitecustomize.py", "usercustomize.py", "numpy.py", "evil.pth", "__init__.py"):
        (folder / name).write_text(f"import os; os.system('touch {marker}')\n")
    sign(folder)


def climbing(folder: Path, marker: Path) -> None:
    for name in ("../../evil.py", str(marker), "models/../../../x"):
        change(folder, "digests.json", lambda d, name=name: d["files"].update({name: {"sha256": "0" * 64, "bytes": 0}}))


def linked(folder: Path, marker: Path) -> None:
    path = next((folder / "models").iterdir())
    path.unlink()
    path.symlink_to("/proc/self/environ")
    (folder / "more").symlink_to("/")


def piped(folder: Path, marker: Path) -> None:
    path = next((folder / "models").iterdir())
    path.unlink()
    os.mkfifo(path)


def parameters(folder: Path, marker: Path) -> None:
    """LightGBM's own ways to read and write files."""
    for path in (folder / "models").glob("*.txt"):
        lines = "".join(f"[{name}: {marker}]\n" for name in ("output_model", "snapshot_freq", "machine_list_filename"))
        path.write_text(path.read_text().replace("parameters:\n", f"parameters:\n{lines}"))
    sign(folder)


def library(folder: Path, marker: Path) -> None:
    (folder / "models/0-0.txt").write_bytes(b"\x7fELF" + bytes(4096))
    sign(folder)


def templates(folder: Path, marker: Path) -> None:
    """A title that a template engine would run, and SQL that would write."""
    words = "{{ cycler.__init__.__globals__.os.system('touch " + str(marker) + "') }}<script>1</script>"

    def how(task: dict[str, Any]) -> None:
        task["title"] = {"en": words, "zh": words}
        task["data"]["sql"] = f"COPY (SELECT 1) TO '{marker}'"

    change(folder, "task.json", how)
    sign(folder)


def objects(folder: Path, marker: Path) -> None:
    """What other readers of JSON make objects of."""
    made = {"py/reduce": [{"py/function": "os.system"}, {"py/tuple": [f"touch {marker}"]}]}
    change(folder, "card.json", lambda card: card.update({"metrics": made, "__class__": "os.system"}))
    sign(folder)


def yaml_for_json(folder: Path, marker: Path) -> None:
    (folder / "encoder.json").write_text(f"!!python/object/apply:os.system ['touch {marker}']\n")
    sign(folder)


def decisions(folder: Path, marker: Path) -> None:
    code = f"__import__('os').system('touch {marker}')"
    change(folder, "task.json", lambda t: t["answers"].update(decision={"kind": "order_quantity", "under": code}))
    sign(folder)


def groups(folder: Path, marker: Path) -> None:
    change(folder, "ensemble.json", lambda e: e["members"][0].update(link=f"__import__('os').system('touch {marker}')"))
    sign(folder)


def outside(folder: Path, marker: Path) -> None:
    change(folder, "ensemble.json", lambda e: e["members"][0].update(files=["../../code/evil.py"]))
    sign(folder)


MALICE = [
    python_beside, pickled, pickled_array, code_in_an_array, code_listed, climbing, linked, piped, parameters,
    templates, library, objects, yaml_for_json, decisions, groups, outside, cut,
]  # fmt: skip


@pytest.mark.proof
def test_no_malicious_artifact_is_run(tmp_path: Path, empty_registry: Path):
    """In full 51: each kind in a version of each kind of target; 10 else. Whatever runs leaves a marker."""
    markers = tmp_path / "markers"
    markers.mkdir()
    shelf = Shelf(tmp_path, empty_registry)
    tasks = list(KINDS) if FULL else ["stay"]
    for task in tasks:
        shelf.champion(task, version(KINDS[task]).bundle)
    with serving(shelf.home) as server:
        workers = server.children("serving.app")
        for task in tasks:
            for kind in MALICE if FULL else MALICE[:10]:
                marker = markers / f"{task}-{kind.__name__}"

                def spoil(folder: Path, kind: Callable = kind, marker: Path = marker) -> None:
                    kind(folder, random.Random(0) if kind is cut else marker)

                number = shelf.champion(task, other(KINDS[task]), spoil)
                until(lambda task=task, number=number: judged(server, task, number), 60, server.log.read_text)
                assert server.get(f"/form/{task}").status_code == 200
                assert server.get("/openapi.json").status_code == 200
        assert server.children("serving.app") == workers
    assert list(markers.iterdir()) == []
    log = server.log.read_text()
    assert '"child_died"' not in log
    assert "/proc/self/environ" not in log


def judged(server: Server, task: str, number: str) -> bool:
    """Whether a version was refused or let in."""
    state = server.get("/readyz").json()
    return number in state["refused"].get(task, {}) or state["tasks"][task]["version"] == number


def test_a_model_whose_name_is_a_path_is_not_followed(shelf: Shelf):
    client, root = shelf.client, settings(shelf).cache
    for name in ("..", "...", "stay.x", "Stay", "-rf"):
        try:
            client.create_registered_model(name, {"gancao.task": name})
        except Exception:
            continue
        client.create_model_version(name, client.get_model_version("stay", "1").source)
        client.set_registered_model_alias(name, "champion", "1")
    Fetcher(settings(shelf)).look()
    assert set(cache.published(root)) == {"stay"}
    assert {path.name for path in root.iterdir()} == {"stay", "registry.json"}
    assert not (root.parent / "versions").exists()
