"""Synthetic stand-ins for a Task's sources, marked as such: births from published distributions, others by `stand_in`.

They let every command run on a machine without the real data. Nothing here was fitted on the real file, or
reads it: a number that a model reaches on a stand-in says nothing about births.

Checked against their pages: the rates of Final 2014, the body-mass shares of NVSR 65(6), Ludwig and Currie's weight
gain. Cited from memory and not checked again: Kramer 1987, NVSR 62(5) and 65(1), Savitz 2002, Torloni 2009, Deputy
2015, Alexander 1998, NHANES heights, shares of age and parity. Good enough to try things out with, not to quote.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from experiments import catalog, stand_in
from feature_store import taskfile
from feature_store.errors import GancaoError, Usage
from feature_store.offline import SYNTHETIC_KEY

Columns = dict[str, np.ndarray]
"""Name -> (n,) float64 or str array; NaN or "" is unknown."""


def sample(task_name: str, data_dir: Path, rows: int = 20_000, seed: int = 0) -> Path:
    """Write the stand-in of a Task's sources below `data_dir`; the same rows and seed give the same bytes.

    Gives the file of the first source. Raises Usage when there is no generator or no row is asked for, and GancaoError
    rather than overwrite a file that is not itself marked synthetic: then none is written.
    """
    if task_name not in names():
        raise Usage(
            f"No synthetic stand-in can be made for task {task_name!r}.\nThere is one for: {', '.join(names())}."
        )
    if rows < 1:
        raise Usage(f"{rows} rows can't be sampled.\nAsk for 1 or more.")
    if task_name in _GENERATORS:
        relative, schema, draw = _GENERATORS[task_name]
        drawn = draw(np.random.default_rng(seed), rows)
        columns = [_array(drawn.get(field.name), field.type, rows) for field in schema]
        tables = {relative: pa.table(columns, schema=schema)}
    else:
        task = taskfile.read(catalog.SHIPPED / f"{task_name}.yaml")
        tables = stand_in.draw(task_name, task.data.sources, rows, seed)
    paths = [data_dir / relative for relative in tables]
    for path in paths:
        if path.exists() and not _is_stand_in(path):
            raise GancaoError(
                f"{path} is there and not marked synthetic: it may be the real data, and was left alone.\n"
                "Move it away, or sample into another folder (GANCAO_DATA)."
            )
    for path, table in zip(paths, tables.values(), strict=True):
        _write(table.replace_schema_metadata({SYNTHETIC_KEY: b"true"}), path)
    return paths[0]


def names() -> list[str]:
    """The Tasks of which a stand-in can be made."""
    return sorted([*_GENERATORS, *stand_in.names()])


def _array(values: np.ndarray | None, kind: pa.DataType, n: int) -> pa.Array:
    if values is None:
        return pa.nulls(n, kind)
    if values.dtype.kind == "f":
        return pa.array(values, mask=np.isnan(values)).cast(kind)
    return pa.array(values.astype(object), kind, mask=values == "")


def _is_stand_in(path: Path) -> bool:
    try:
        return (pq.read_metadata(path).metadata or {}).get(SYNTHETIC_KEY) == b"true"
    except (pa.ArrowException, OSError):  # no Parquet file at all
        return False


def _write(table: pa.Table, path: Path) -> None:
    """Whole or not at all: a reader never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(table, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


# --- births: the US natality file of 2014, in its own units and words -------------------------------------------
#
# "NVSR" are the National Vital Statistics Reports of the NCHS, "Final 2014" is NVSR 64(12), Hamilton et al. 2015.
# Shares are rounded; where a report gives a share for a range, its spread over the weeks or years is ours.

_COUNTS = (
    "mager fagecomb dbwt combgest dplural apgar5 apgar10 pwgt_r dwgt_r m_ht_in cig_0 cig_1 cig_2 cig_3 "
    "precare previs priorlive priordead priorterm"
)
_ORDER = (
    "mager fagecomb ubfacil urf_diab urf_chyper urf_phyper urf_eclam uop_induc uld_breech ilive ab_aven1 ab_aven6 "
    "ab_nicu ab_surf ab_anti ab_seiz dbwt combgest sex dplural apgar5 apgar10 mtran pay mm_mtr mm_plac mm_rupt "
    "mm_uhyst mm_aicu me_pres me_rout ld_indl pwgt_r dwgt_r m_ht_in cig_0 cig_1 cig_2 cig_3 wic precare previs "
    "priorlive priordead priorterm"
)
_INTEGERS = set(_COUNTS.split())
_BIRTHS = pa.schema([(name, pa.int32() if name in _INTEGERS else pa.large_string()) for name in _ORDER.split()])

_AGES = {(13, 19): 6.3, (20, 24): 22.1, (25, 29): 28.8, (30, 34): 27.1, (35, 39): 12.8, (40, 44): 2.7, (45, 50): 0.2}
"""Mother's age, percent of births (Final 2014; mean about 28)."""

_WEEKS = {
    1: {(22, 27): 0.5, (28, 31): 0.75, (32, 33): 0.95, (34, 35): 2.5, (36, 36): 3.1, (37, 37): 8.5, (38, 38): 16.5,
        (39, 39): 38.0, (40, 40): 21.5, (41, 41): 7.1, (42, 43): 0.6},
    2: {(22, 27): 4.5, (28, 31): 6.5, (32, 33): 8.5, (34, 35): 19.5, (36, 36): 19.0, (37, 37): 24.0, (38, 38): 13.5,
        (39, 39): 3.5, (40, 40): 1.0},
    3: {(22, 27): 12.0, (28, 31): 25.0, (32, 33): 30.0, (34, 35): 25.0, (36, 36): 5.0, (37, 37): 3.0},
}  # fmt: skip
"""Plurality -> completed weeks, percent: 9.6 % of all, 7.7 % of singletons, 58 % of twins are preterm (Final 2014)."""

_UNKNOWN = {
    "fagecomb": 0.14, "pwgt_r": 0.025, "dwgt_r": 0.015, "m_ht_in": 0.01, "cig_0": 0.04, "cig_1": 0.04, "cig_2": 0.04,
    "cig_3": 0.04, "wic": 0.015, "precare": 0.035, "previs": 0.03, "priorlive": 0.004, "priordead": 0.004,
    "priorterm": 0.004, "urf_diab": 0.002, "urf_chyper": 0.002, "urf_phyper": 0.002, "urf_eclam": 0.002,
    "pay": 0.01, "combgest": 0.0005, "dbwt": 0.0008,
}  # fmt: skip
"""Share unknown: our choice, so that every missing path is met; 4 % lack height or weight (NVSR 65(6), 2016)."""


_AT_40_WEEKS_G = 3610
"""Height of the growth curve, set so that 8 % stay below 2,500 g (Final 2014) and the mean is about 3,270 g."""


def _draw_births(random: np.random.Generator, n: int) -> Columns:
    births = _draw_mothers(random, n) | _draw_fetus(random, n)
    births |= _draw_illness(random, births) | _draw_care(random, births)
    births |= _draw_weight(random, births)
    # Weeks are counted from a remembered last period: about one in ten is off by two weeks or more
    # (Savitz et al. 2002, AJOG 187:1660), some by a whole cycle.
    error = np.where(random.random(n) < 0.12, random.normal(0.5, 2.5, n), random.normal(0, 0.4, n))
    births["combgest"] = np.clip(np.round(births["combgest"] + error), 17, 47)
    for name, share in _UNKNOWN.items():
        unknown = random.random(n) < share
        births[name] = np.where(unknown, "" if births[name].dtype.kind == "U" else np.nan, births[name])
    return births


def _draw_mothers(random: np.random.Generator, n: int) -> Columns:
    age = _between(random, _AGES, n)
    # Women of 20 and more: 63.7 in, sd 2.8 (NHANES 2011-2014: Fryar et al. 2016, Vital Health Stat 3(39)).
    height = np.clip(np.round(random.normal(63.9, 2.8, n)), 48, 78)
    # Body-mass index before pregnancy: 3.8 % < 18.5, 45.9 % to 25, 25.6 % to 30, 24.8 % above (NVSR 65(6), 2016);
    # a shifted log-normal of median 25.3 comes near all four.
    index = 14 + np.exp(random.normal(np.log(11.3) + 0.008 * (age - 28), 0.5, n))
    before = np.clip(np.round(index * height**2 / 703), 75, 375)
    # Earlier children living: 39 % none, 32 % one, 17 % two (Final 2014); they come with age.
    expected = 1.1 * np.exp(0.055 * (age - 28))
    living = np.clip(random.negative_binomial(3, 3 / (3 + expected)), 0, 12).astype(float)
    # 10.9 % smoked before and 8.4 % during pregnancy, most at 20 to 24 (NVSR 65(1), 2016); 10 a day are usual.
    smoker = random.random(n) < np.where(age < 25, 0.16, 0.095)
    first = np.where(smoker, np.clip(5 * np.round(random.gamma(2.2, 5.5, n) / 5), 1, 60), 0.0)
    goes_on = random.random((3, n)) < np.array([[0.77], [0.86], [0.93]])
    later = np.round(np.cumprod(goes_on, axis=0) * first * 0.7)
    # Medicaid pays 43 %, a private insurance 47 % (NVSR 62(5), 2013); WIC feeds some 43 %, most of them on Medicaid.
    medicaid = random.random(n) < np.clip(0.43 + 0.02 * (28 - age), 0.1, 0.85)
    others = random.choice(["private", "self-pay", "military", "other", "other_gov", "IHS"], n,
                           p=[0.83, 0.075, 0.03, 0.05, 0.014, 0.001])  # fmt: skip
    return {
        "mager": age,
        "fagecomb": np.clip(np.round(age + random.normal(2.5, 5.5, n)), 14, 80),
        "m_ht_in": height,
        "pwgt_r": before,
        "priorlive": living,
        "priordead": (random.random(n) < 0.012 * living).astype(float),
        "priorterm": random.poisson(0.02 * np.clip(age - 13, 0, None)).astype(float),
        **{f"cig_{i}": np.ceil(cigarettes) for i, cigarettes in enumerate([first, *later])},
        "pay": np.where(medicaid, "medicaid", others),
        "wic": np.where(random.random(n) < np.where(medicaid, 0.78, 0.17), "y", "n"),
    }


def _draw_fetus(random: np.random.Generator, n: int) -> Columns:
    # 33.9 twins per 1,000 births, 113.5 triplets or more per 100,000; 1,048 boys per 1,000 girls (Final 2014).
    plurality = random.choice([1.0, 2.0, 3.0], n, p=[1 - 0.0339 - 0.001135, 0.0339, 0.001135])
    weeks = np.select([plurality == k for k in _WEEKS], [_between(random, shares, n) for shares in _WEEKS.values()])
    return {"dplural": plurality, "combgest": weeks, "sex": np.where(random.random(n) < 1048 / 2048, "M", "F")}


def _draw_illness(random: np.random.Generator, births: Columns) -> Columns:
    """Diabetes of either kind 6 %, chronic hypertension 1.6 %, of pregnancy 5.6 %, eclampsia 0.2 %.

    Rates of birth certificates of 2014, rounded. Diabetes doubles about every 8 kg/m2, in step with the odds ratios
    of Torloni et al. 2009, Obes Rev 10:194; its age and the hypertensions follow the same pattern by our choice.
    """
    n, age, index = len(births["mager"]), births["mager"], 703 * births["pwgt_r"] / births["m_ht_in"] ** 2
    preterm = births["combgest"] < 37
    rates = {
        "urf_diab": 0.039 * 2 ** ((age - 28) / 8 + (index - 26.5) / 8),
        "urf_chyper": 0.011 * 2 ** ((age - 28) / 8 + (index - 26.5) / 8),
        "urf_phyper": 0.046 * 2 ** ((index - 26.5) / 10) * np.where(preterm, 2.5, 0.9),
        "urf_eclam": 0.002 * np.where(preterm, 4.0, 0.7),
    }
    return {name: np.where(random.random(n) < np.minimum(rate, 0.6), "y", "n") for name, rate in rates.items()}


def _draw_care(random: np.random.Generator, births: Columns) -> Columns:
    """77 % begin care in the first three months, 1.6 % never (code 15); about 11 visits, fewer when born early."""
    n, weeks, on_medicaid = len(births["mager"]), births["combgest"], births["pay"] == "medicaid"
    never = random.random(n) < np.where(on_medicaid, 0.024, 0.010)
    begins = np.clip(1 + random.negative_binomial(3, np.where(on_medicaid, 0.61, 0.69)), 1, np.minimum(weeks // 4, 10))
    visits = np.clip(np.round(random.normal(12.4 - 0.9 * (begins - 2) - 0.45 * (39 - weeks), 3.2)), 1, 60)
    return {"precare": np.where(never, 15.0, begins), "previs": np.where(never, 0.0, visits)}


def _draw_weight(random: np.random.Generator, births: Columns) -> Columns:
    """Birth weight in grams and the mother's weight at delivery in pounds.

    Curve: Hadlock et al. 1991, Radiology 181:129, exp(0.578 + 0.332 w - 0.00354 w^2), scaled to the population's
    weight at 40 weeks as Mikolajczyk et al. 2011, Lancet 377:1855 do. Around it 11.6 %: their 12.7 % in all, less
    what the effects below explain. Effects, in grams at term: boys 126, 7.8 per cm of height, 9.5 per kg before
    pregnancy, -11.1 per cigarette a day (Kramer 1987, Bull WHO 65:663; the one on weight is halved here, as it
    flattens in obesity); 7.35 per kg gained (Ludwig, Currie 2010, Lancet 376:984); a first child -100, diabetes
    +100, hypertension of pregnancy -150 and chronic -100: round numbers of the size that cohorts report.
    Twins are lighter from week 30 on, by 15 % at term, triplets by 20 % (Alexander et al. 1998, Clin Obstet Gynecol
    41:114, rounded).
    """
    n, kilo = len(births["mager"]), 0.45359237
    index = 703 * births["pwgt_r"] / births["m_ht_in"] ** 2
    # About 30 lb are gained, less by heavier women (Deputy et al. 2015, Obstet Gynecol 125:773), week by week.
    gain = random.normal(31 - 0.75 * np.clip(index - 26.5, -8, 22), 14, n) * births["combgest"] / 39
    gain += 8 * (births["dplural"] > 1)
    effect = (
        126 * ((births["sex"] == "M") - 0.512)
        + 7.8 * 2.54 * (births["m_ht_in"] - 63.9)
        + 9.5 / 2 * kilo * np.clip(births["pwgt_r"] - 155, -80, 150)
        - 11.1 * np.minimum(births["cig_3"], 25)
        + 7.35 * kilo * (gain - 30)
        - 100 * (births["priorlive"] == 0)
        + 100 * (births["urf_diab"] == "y")
        - 150 * ((births["urf_phyper"] == "y") | (births["urf_eclam"] == "y"))
        - 100 * (births["urf_chyper"] == "y")
    )
    weeks = births["combgest"] + random.random(n)  # completed weeks and days
    curve = np.exp(0.332 * (weeks - 40.5) - 0.00354 * (weeks**2 - 40.5**2)) * _AT_40_WEEKS_G
    deficit = np.select([births["dplural"] == 2, births["dplural"] == 3], [0.15, 0.20], 0.0)
    share = 1 - deficit * np.clip((weeks - 30) / 8, 0, 1)
    weight = curve * share * (1 + effect / 3400) * (1 + 0.116 * np.clip(random.normal(0, 1, n), -4.5, 4.5))
    return {
        "dbwt": np.clip(np.round(weight), 227, 6500),
        "dwgt_r": np.clip(np.round(births["pwgt_r"] + gain), 100, 400),
    }


def _between(random: np.random.Generator, shares: dict[tuple[int, int], float], n: int) -> np.ndarray:
    """Whole numbers: a range by its share, then any number in it alike."""
    low, high = np.array(list(shares)).T
    weights = np.array(list(shares.values()))
    chosen = random.choice(len(weights), n, p=weights / weights.sum())
    numbers: np.ndarray = random.integers(low[chosen], high[chosen] + 1).astype(float)
    return numbers


_GENERATORS: dict[str, tuple[str, pa.Schema, Callable[[np.random.Generator, int], Columns]]] = {
    "birth_weight": ("birth_weight/natality_2014_100k.parquet", _BIRTHS, _draw_births)
}
"""Task -> file below the data folder, the real file's columns (those not drawn are null), and how to draw them."""
