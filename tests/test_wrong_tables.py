"""Wrong and awkward tables: each trains, or is refused with a sentence that helps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store.errors import GancaoError
from feature_store.settings import Settings
from feature_store.task import Budget, Task
from training.train import Trained, train

BUDGET = Budget(trials=3)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "data").mkdir()
    return Settings(home=folder / "home", data=folder / "data")


def number(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "number", "limits": [-1e9, 1e9], **more}


def stated(name: str, fields: list[dict[str, Any]], sql: str = "SELECT * FROM t", **more: Any) -> Task:
    return Task.model_validate(
        {
            "task": name,
            "title": name,
            "intended_use": "A test.",
            "target": {"name": "y", "label": "Y", "unit": "1", "limits": [-1e9, 1e9]},
            "data": {"sources": {"t": f"{name}.parquet"}, "sql": sql},
            "fields": fields,
            **more,
        }
    )


def learn(home: Settings, task: Task, columns: dict[str, Any], budget: Budget = BUDGET) -> Trained:
    pq.write_table(pa.table(columns), home.data / f"{task.task}.parquet")
    return train(task, home, budget)


def refused(home: Settings, task: Task, columns: dict[str, Any]) -> str:
    with pytest.raises(GancaoError) as caught:
        learn(home, task, columns)
    return str(caught.value)


def noise(n: int = 300, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


def classes(kind: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "target": {"name": "y", "label": "Y", **more}}


def test_a_constant_target_is_refused(home):
    said = refused(home, stated("constant", [number("x")]), {"x": noise(), "y": np.full(300, 7.0)})
    assert "always 7" in said
    assert "nothing to learn" in said


def test_a_target_with_a_hundred_classes_trains(home):
    places = np.arange(2000) % 100
    quick = {"learners": ["linear", "lightgbm"]}
    task = stated("hundred", [number("x"), number("z")], **classes("multiclass"), search=quick)
    columns = {"x": places // 10 + 2.0 * noise(2000), "z": places % 10 + 2.0 * noise(2000, 1), "y": places.astype(str)}
    trained = learn(home, task, columns, Budget(trials=2))
    assert trained.metrics["log_loss"] < trained.card["baselines"]["prior"]["log_loss"]
    assert 0.8 < trained.metrics["set_coverage"] <= 1.0


def test_one_row_a_class_is_refused(home):
    task = stated("single_rows", [number("x")], **classes("multiclass"))
    said = refused(home, task, {"x": noise(60), "y": [f"class {n}" for n in range(60)]})
    assert "fewer than 2 rows" in said
    assert "group rare classes" in said


def test_an_all_missing_column_trains_with_a_warning_unless_it_is_required(home):
    columns = {"x": noise(), "empty": pa.nulls(300, pa.float64()), "y": noise() + noise(seed=1) * 0.5}
    trained = learn(home, stated("empty", [number("x"), number("empty")]), columns)
    assert np.isfinite(trained.metrics["rmse"])
    said = refused(home, stated("empty", [number("x"), number("empty", required=True)]), columns)
    assert "unknown in 300 rows" in said


def test_ten_thousand_columns_train(home):
    random = np.random.default_rng(0)
    matrix = random.normal(size=(200, 10_000))
    columns = {f"c{n}": matrix[:, n] for n in range(10_000)} | {"y": matrix[:, 3] * 3 + random.normal(size=200)}
    task = stated("wide", [number(f"c{n}") for n in range(10_000)])
    trained = learn(home, task, columns, Budget(seconds=10))
    assert np.isfinite(trained.metrics["rmse"])
    assert trained.metrics["rmse"] < 1.5 * trained.card["baselines"]["mean"]["rmse"]


def test_a_column_that_mixes_types_is_refused_with_the_cast_to_write(home):
    mixed = [str(n) if n % 7 else "about ten" for n in range(300)]
    said = refused(home, stated("mixed", [number("x")]), {"x": mixed, "y": noise()})
    assert "about ten" in said
    assert "CAST(x AS DOUBLE)" in said


def test_dates_as_strings_are_refused_with_the_cast_and_train_once_cast(home):
    days = (np.datetime64("2020-01-01") + np.arange(300)).astype(str).tolist()
    columns = {"day": days, "y": np.arange(300) + 100 * noise()}
    fields = [{"name": "day", "type": "date"}]
    said = refused(home, stated("dates", fields), columns)
    assert "CAST(day AS DATE)" in said
    trained = learn(home, stated("dates", fields, sql="SELECT CAST(day AS DATE) AS day, y FROM t"), columns)
    assert trained.metrics["rmse"] < 125


def test_an_identifier_as_a_field_does_no_harm(home):
    x = noise(600)
    columns = {"id": [f"case-{n}" for n in range(600)], "x": x, "y": x + noise(600, 1)}
    trained = learn(home, stated("ids", [{"name": "id", "type": "category"}, number("x")]), columns)
    assert trained.metrics["rmse"] < 1.2, "of 1.41 without x"


def test_chinese_column_names_and_words_train_by_an_alias(home):
    x = noise()
    columns = {"年龄": x, "城市": np.where(x > 0, "北京", "上海").tolist(), "结果": x * 2 + noise(seed=1)}
    fields = [number("age"), {"name": "city", "type": "category"}]
    sql = 'SELECT "年龄" AS age, "城市" AS city, "结果" AS y FROM t'
    trained = learn(home, stated("chinese", fields, sql=sql), columns)
    assert trained.metrics["r2"] > 0.5


def test_infinite_values_are_refused_with_the_remedy(home):
    x = noise()
    x[5] = np.inf
    said = refused(home, stated("infinite", [number("x")]), {"x": x, "y": noise(seed=1)})
    assert "isfinite(x)" in said
    assert "not finite" in refused(home, stated("infinite_y", [number("x")]), {"x": noise(seed=1), "y": x})


def test_twelve_rows_are_refused_with_how_many_are_needed(home):
    said = refused(home, stated("twelve", [number("x")]), {"x": noise(12), "y": noise(12, 1)})
    assert "12 rows" in said
    assert "are the least" in said or "are needed" in said


def test_weights_that_are_no_weights_are_refused(home):
    task = stated("weights", [number("x")], data={"sources": {"t": "weights.parquet"}, "sql": "SELECT * FROM t",
                                                  "weight": "w"})  # fmt: skip
    counts = np.ones(300)
    counts[3] = -1.0
    said = refused(home, task, {"x": noise(), "w": counts, "y": noise(seed=1)})
    assert "w" in said
    assert "above 0" in said or "0" in said


def test_an_imbalanced_target_gives_chances_that_hold(home):
    """1 in 50: the mean chance on the holdout is the rate, not a half."""
    random = np.random.default_rng(0)
    x = random.normal(size=6000)
    positive = random.random(6000) < 1 / (1 + np.exp(-(2 * x - 5.5)))
    task = stated("rare", [number("x")], **classes("binary", positive="true"))
    trained = learn(home, task, {"x": x, "y": positive})
    rate = trained.metrics["base_rate"]
    assert 0.005 < rate < 0.06
    assert trained.metrics["brier"] < rate * (1 - rate), "better than the rate itself"
    assert trained.metrics["auc"] > 0.85
