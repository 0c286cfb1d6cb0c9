"""A challenger answers what the champion was asked: later, kept beside the journal, and seen by nobody who asked."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from serving import bundle, cache, shadow, shadows
from serving.bundle import Bundle
from serving.predictor import Predictor
from serving.shadow import Shadow
from serving.shadows import Shadowed
from tests.conftest import serving, until
from tests.made import version
from tests.shelf import Shelf, other
from training import golden

ROWS = version("regression").rows[:8]
CHAMPION = Predictor(version("regression").bundle, "1")


def stands(tmp_path: Path, made: Bundle, alias: str, number: str) -> None:
    """Put a version into the cache by hand."""
    (tmp_path / "cache").mkdir(exist_ok=True)
    bundle.write(made, tmp_path / f"new-{number}")
    cache.publish(tmp_path / "cache", made.task.task, number, tmp_path / f"new-{number}", f"by hand {number}", alias)


@pytest.fixture
def standing(tmp_path: Path) -> Path:
    stands(tmp_path, other("regression"), cache.CHALLENGER, "2")
    return tmp_path


def begun(folder: Path, share: float = 1.0) -> Shadow:
    """A shadow that knows its challengers."""
    made = Shadow(folder / "cache", folder / "shadows.db", share)
    until(lambda: made._versions, 60, lambda: "no challenger was loaded")
    return made


def sent(number: int, rows: int = 1) -> list[dict[str, str]]:
    return [{"prediction_id": f"{number:08x}-{row}"} for row in range(rows)]


def test_a_challengers_answers_are_its_own_to_the_bit(standing: Path):
    made = begun(standing)
    made.offer(CHAMPION, ROWS, sent(7, len(ROWS)))
    until(lambda: shadows.counts(standing / "shadows.db"), 60, lambda: "nothing was written")
    made.close()
    kept = shadows.answers(standing / "shadows.db", "stay", "2", "1")
    assert list(kept.values()) == Predictor(other("regression"), "2").answer(ROWS)
    assert list(kept) == [one["prediction_id"] for one in sent(7, len(ROWS))]
    assert shadows.counts(standing / "shadows.db") == {("stay", "2", "answered"): len(ROWS)}
    assert (standing / "shadows.db").stat().st_mode & 0o077 == 0, "it is its owner's only"


def test_what_it_can_not_keep_up_with_is_dropped_and_counted(standing: Path):
    made, rows = begun(standing), ROWS * 100
    for number in range(40):  # 32,000 rows at once; 2,000 may wait
        made.offer(CHAMPION, rows, sent(number, len(rows)))
    assert made._waiting <= shadow.MOST_ROWS
    until(lambda: shadows.counts(standing / "shadows.db"), 60, lambda: "nothing was written")
    made.close()
    counts = shadows.counts(standing / "shadows.db")
    assert counts["stay", "2", "dropped"] > 20_000
    assert counts["stay", "2", "answered"] == len(shadows.answers(standing / "shadows.db", "stay", "2", "1"))


def test_it_rests_nine_times_as_long_as_it_works(standing: Path):
    """Counted in processor time of its thread, so a busy machine makes it rest longer and never shorter."""
    made, rows = begun(standing), ROWS * 60
    began, used = time.monotonic(), time.process_time()
    for number in range(4):
        made.offer(CHAMPION, rows, sent(number, len(rows)))
    until(lambda: made._waiting == 0, 120, lambda: "it did not end")
    assert time.process_time() - used < 0.5 * (time.monotonic() - began)
    made.close()


def test_a_share_of_the_requests_is_sampled_and_always_the_same():
    ids = [f"{place * 2**32 // 1000:08x}" for place in range(1000)]
    assert [sum(shadow.sampled(one, share) for one in ids) for share in (0.0, 0.25, 1.0)] == [0, 250, 1000]
    assert shadow.sampled("ffffffff", 1.0)


def test_without_a_share_no_thread_runs(standing: Path):
    made = Shadow(standing / "cache", standing / "shadows.db", 0.0)
    made.offer(CHAMPION, ROWS, sent(0, len(ROWS)))
    made.close()
    assert not made._thread.is_alive()
    assert not (standing / "shadows.db").exists()


def test_a_challenger_that_asks_for_more_counts_rows_as_unfit_for_it(tmp_path: Path):
    made = version("regression").bundle
    fields = tuple(f.model_copy(update={"required": True}) if f.name == "days" else f for f in made.task.fields)
    task = made.task.model_copy(update={"fields": fields})
    rows = [row for row in made.golden["rows"] if row.get("days") is not None]
    made = replace(
        made, task=task, encoder=replace(made.encoder, task=task), distribution=replace(made.distribution, task=task)
    )
    stands(tmp_path, replace(made, golden=golden.answered(Predictor(made), rows)), cache.CHALLENGER, "2")
    shade = begun(tmp_path)
    shade.offer(CHAMPION, [{"age": 70}], sent(1))
    until(lambda: shadows.counts(tmp_path / "shadows.db"), 60, lambda: "nothing was written")
    shade.close()
    assert shadows.counts(tmp_path / "shadows.db") == {("stay", "2", "unfit"): 1}


def test_a_challenger_that_does_not_load_harms_nobody(standing: Path):
    path = next((cache.published(standing / "cache", cache.CHALLENGER)["stay"].folder / "models").iterdir())
    path.write_text("nonsense")
    made = Shadow(standing / "cache", standing / "shadows.db", 1.0)
    until(lambda: made._failed, 60, lambda: "it was not tried")
    made.offer(CHAMPION, ROWS, sent(1, len(ROWS)))
    made.close()
    assert not (standing / "shadows.db").exists()


def test_a_file_that_can_not_be_written_harms_nobody(standing: Path):
    (standing / "shadows.db").mkdir()
    made = begun(standing)
    for number in range(3):
        made.offer(CHAMPION, ROWS, sent(number, len(ROWS)))
    until(lambda: made._waiting == 0, 60, lambda: "it did not end")
    assert made._thread.is_alive()
    made.close()


def test_the_oldest_answers_go_when_there_are_too_many(tmp_path: Path):
    path = tmp_path / "shadows.db"
    for number in range(5):
        shadows.write(path, [Shadowed(str(number), number, "stay", "2", "1", "{}")], {("stay", "2", "answered"): 1}, 3)
    assert list(shadows.answers(path, "stay", "2", "1")) == ["2", "3", "4"]
    assert shadows.counts(path) == {("stay", "2", "answered"): 5}, "what is counted only grows"
    assert shadows.pairs(path, "stay") == [shadows.Pair("2", "1", 3, 2, 4)]


def test_a_served_challenger_answers_unseen_and_leaves_with_its_alias(tmp_path: Path, empty_registry: Path):
    shelf = Shelf(tmp_path, empty_registry)
    shelf.champion("stay", version("regression").bundle)
    challenger = shelf.put("stay", other("regression"))
    home = shelf.home.home
    with serving(shelf.home) as server:
        before = server.post("/v1/stay/predict", json={"rows": ROWS}).json()
        shelf.name("stay", "challenger", challenger)
        until(lambda: '"challenger_answering"' in server.log.read_text(), 60, server.log.read_text)
        assert server.get("/readyz").json()["challengers"] == {"stay": challenger}
        after = server.post("/v1/stay/predict", json={"rows": ROWS}).json()
        plain = [[{**a, "prediction_id": ""} for a in answered["answers"]] for answered in (before, after)]
        assert plain[0] == plain[1]
        assert (before["version"], after["version"]) == ("1", "1")
        until(lambda: shadows.counts(home / "shadows.db"), 60, server.log.read_text)
        kept = shadows.answers(home / "shadows.db", "stay", challenger, "1")
        assert set(kept) == {answer["prediction_id"] for answer in after["answers"]}
        assert [one["value"] for one in kept.values()] != [answer["value"] for answer in after["answers"]]
        metrics = server.get("/metrics").text
        assert f'gancao_version_challenging{{task="stay",version="{challenger}"}} 1' in metrics
        told = f'gancao_shadow_rows_total{{task="stay",version="{challenger}",what="answered"}} 8'
        assert told in metrics
        assert [one["version"] for one in server.get("/v1").json()["tasks"]] == ["1"]
        shelf.client.delete_registered_model_alias("stay", "challenger")
        until(lambda: not server.get("/readyz").json()["challengers"], 30, server.log.read_text)
        assert server.post("/v1/stay/predict", json={"rows": ROWS}).status_code == 200
    with sqlite3.connect(home / "journal.db") as connection:
        assert {row[0] for row in connection.execute("SELECT version FROM answers")} == {"1"}
    connection.close()


def test_a_challenger_that_is_refused_is_told_and_the_champion_stays(tmp_path: Path, empty_registry: Path):
    shelf = Shelf(tmp_path, empty_registry)
    shelf.champion("stay", version("regression").bundle)

    def spoil(folder: Path) -> None:
        (folder / "card.json").write_text("{}")

    spoilt = shelf.put("stay", other("regression"), spoil)
    with serving(shelf.home) as server:
        shelf.name("stay", "challenger", spoilt)
        state = until(lambda: (s := server.get("/readyz").json())["refused"] and s, 30, server.log.read_text)
        assert list(state["refused"]["stay"]) == [spoilt]
        assert (state["ready"], state["challengers"]) == (True, {})
        assert server.post("/v1/stay/predict", json={"rows": ROWS}).status_code == 200


def test_a_home_that_never_had_a_challenger_has_no_shadows(tmp_path: Path):
    assert shadows.pairs(tmp_path / "none.db", "stay") == []
    assert shadows.counts(tmp_path / "none.db") == {}
