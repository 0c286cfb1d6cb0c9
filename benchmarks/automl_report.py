"""The results of the AutoML comparison as a page, and their gist between the README's marks."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from datetime import UTC, datetime

from benchmarks.automl_results import LEAST_SPLITS, OWN, RIVAL, Board

BEST = "autogluon_best"
MEASURES = {"rmse": "RMSE", "mae": "MAE", "auc": "1 - AUC", "log_loss": "log loss"}
MARKS = ("<!-- automl -->", "<!-- /automl -->")


def page(board: Board, wider: Board, titles: Mapping[str, str], command: str, machine: str) -> str:
    """The whole page as markdown. wider: of more systems, on those splits that they have run on too; titles: what
    people read for a system."""
    sections = [
        f"# Beside other AutoML systems\n\nMade by `{command}` on {datetime.now(UTC):%Y-%m-%d}; {machine}.\n",
        terms(board),
        gist(board, titles),
        "![Relative errors by table](../img/automl.png)\n",
        "## Error relative to LightGBM defaults\n\n" + relative(board, titles),
        "## Error\n\n" + absolute(board, titles),
        "## Ranks\n\n" + ranks(board, titles),
        beside(board, wider, titles),
        "## What it costs\n\n" + costs(board, titles),
        versions(board, titles),
        failures(board, titles),
    ]
    return "\n".join(section for section in sections if section)


def beside(board: Board, wider: Board, titles: Mapping[str, str]) -> str:
    """The systems that ran on fewer splits, with all others on the same; "" where there are none."""
    if set(wider.systems) <= set(board.systems):
        return ""
    head = f"## All systems\n\nError relative to LightGBM defaults on {_splits(wider)} that all have run on.\n\n"
    return head + relative(wider, titles) + "\n" + ranks(wider, titles)


def readme(text: str, board: Board, titles: Mapping[str, str]) -> str:
    """The README with the gist between its marks. Raises ValueError where they are absent."""
    if any(mark not in text for mark in MARKS):
        raise ValueError(f"The README lacks the marks {' and '.join(MARKS)}. Put them where the table belongs.")
    before, after = text.split(MARKS[0])[0], text.split(MARKS[1])[1]
    block = [
        gist(board, titles),
        "![Relative errors by table](docs/img/automl.png)\n",
        relative(board, titles),
        costs(board, titles),
        f"{_noise(board)} Everything else, failures included: [docs/benchmarks/automl.md](docs/benchmarks/automl.md).",
    ]
    return before + "\n".join([MARKS[0], *block, MARKS[1]]) + after


def terms(board: Board) -> str:
    """How it was measured, in a paragraph."""
    budget = board.all(board.systems[0])[0]["budget_s"]
    return (
        f"{len(board.tables)} tables of at most 20,000 rows, {_splits(board)} each (three quarters to learn from); "
        f"every system in its own environment, {budget:g} s, the same 2 cores, rows, metric and seed, one run after "
        f"the other. A run that fails, or is not done after {3 * budget + 60:g} s, counts as lost. {_noise(board)}\n"
    )


def _splits(board: Board) -> str:
    counts = sorted({len(board.seeds[table]) for table in board.tables})
    words = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{words} split{'' if counts == [1] else 's'}"


def _noise(board: Board) -> str:
    """What "within the noise" means with as many splits as there are."""
    fewest = min(len(board.seeds[table]) for table in board.tables)
    if fewest >= LEAST_SPLITS:
        return (
            "**Bold**: the smallest error, or not told apart from it by the paired 95 % t interval over the splits, "
            "corrected for the training rows that they share (Nadeau and Bengio 2003)."
        )
    return (
        f"**Bold**: the smallest error, or not told apart from it by a paired bootstrap of the test rows (95 %). With "
        f"{_splits(board)} the spread from one split to the next is not known."
    )


def gist(board: Board, titles: Mapping[str, str]) -> str:
    """The questions that the comparison was made for, answered."""
    if OWN not in board.systems:
        return "Gancao itself has not run on these tables yet.\n"
    own = [table for table in board.tables if OWN in board.first[table]]
    outright = [table for table in own if board.first[table][0] == OWN]
    lines = [
        f"- **{titles[OWN]} is first, or not told apart from the first, on {len(own)} of {len(board.tables)} tables**; "
        f"its mean error is the smallest on {len(outright)}."
        + _names(" Behind beyond the noise on", [table for table in board.tables if table not in own])
    ]
    if RIVAL in board.systems:
        sure, mean = board.behind(OWN, RIVAL)
        lines.append(f"- Behind {titles[RIVAL]} beyond the noise: {_listed(sure)}; in the mean: {_listed(mean)}.")
    if BEST in board.systems and (ratios := board.row_ratios(BEST)):
        lines.append(
            f"- One row is answered {statistics.median(ratios):,.0f} times as fast as by {titles[BEST]} "
            f"(median of the tables; {min(ratios):,.0f} to {max(ratios):,.0f})."
        )
    return "\n".join([*lines, ""])


def _listed(tables: list[str]) -> str:
    return f"{len(tables)} ({', '.join(tables)})" if tables else "never"


def _names(words: str, tables: list[str]) -> str:
    return f"{words} {', '.join(tables)}." if tables else ""


def relative(board: Board, titles: Mapping[str, str]) -> str:
    """A line a table: each system's error over LightGBM's; the range over splits in brackets."""
    lines = _header(["table (measure)"], board, titles)
    for table in board.tables:
        base = bool(RIVAL in board.systems and not board.failures(RIVAL, table))
        cells = [f"{table} ({_measure(board, table)})"]
        cells += [
            _failed(board, system, table) or (_ratio(board, system, table) if base else "–") for system in board.systems
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _ratio(board: Board, system: str, table: str) -> str:
    mean, low, high = board.relative(system, table)
    words = _figure(mean)
    words = f"**{words}**" if system in board.first[table] else words
    spread = f" ({_figure(low)}–{_figure(high)})" if len(board.seeds[table]) > 1 and system != RIVAL else ""
    return words + spread


def _figure(ratio: float) -> str:
    return f"{ratio:.3f}" if ratio < 10 else f"{ratio:.1f}"


def _failed(board: Board, system: str, table: str) -> str:
    count = len(board.failures(system, table))
    return f"failed ({count} of {len(board.seeds[table])})" if count else ""


def _measure(board: Board, table: str) -> str:
    return MEASURES[board.of(board.systems[0], table)[0]["metric"]]


def _header(first: list[str], board: Board, titles: Mapping[str, str]) -> list[str]:
    names = [*first, *(titles[system] for system in board.systems)]
    return [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]


def absolute(board: Board, titles: Mapping[str, str]) -> str:
    """The same in the measure's own unit, with the shape of each table."""
    lines = _header(["table", "kind", "rows", "columns", "measure"], board, titles)
    for table in board.tables:
        record = board.of(board.systems[0], table)[0]
        rows = record["train_rows"] + record["test_rows"]
        cells = [table, record["kind"], f"{rows:,}", str(record["columns"]), _measure(board, table)]
        cells += [_failed(board, system, table) or f"{board.loss(system, table):.4g}" for system in board.systems]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def ranks(board: Board, titles: Mapping[str, str]) -> str:
    """How often each system is first, and where it stands in the mean."""
    lines = [
        "| | first or equal first | smallest mean | mean place | geometric mean of relative errors | failed runs |"
    ]
    lines.append("|---|---|---|---|---|---|")
    for system in sorted(board.systems, key=board.rank):
        equal = sum(system in board.first[table] for table in board.tables)
        outright = sum(board.first[table][:1] == [system] for table in board.tables)
        failed = sum("failed" in record for record in board.all(system))
        cells = [titles[system], str(equal), str(outright), f"{board.rank(system):.2f}", _mean_ratio(board, system)]
        lines.append(f"| {' | '.join([*cells, str(failed)])} |")
    return "\n".join([*lines, ""])


def _mean_ratio(board: Board, system: str) -> str:
    if RIVAL not in board.systems:
        return "–"
    both = [t for t in board.tables if not board.failures(system, t) and not board.failures(RIVAL, t)]
    if not both:
        return "–"
    words = f"{statistics.geometric_mean([board.relative(system, table)[0] for table in both]):.3f}"
    return words if len(both) == len(board.tables) else f"{words} (of {len(both)} tables)"


def costs(board: Board, titles: Mapping[str, str]) -> str:
    """Medians over all runs: training, answers, size and memory."""
    lines = ["| median of all runs | training s | longest beyond the budget s | one row ms | times Gancao's | "]
    lines[0] += "1,000 rows ms | model MB | peak memory MB |"
    lines.append("|---|---|---|---|---|---|---|---|")
    for system in board.systems:
        over = [record["train_s"] - record["budget_s"] for record in board.all(system) if "train_s" in record]
        times = board.row_ratios(system)
        cells = [
            titles[system],
            _middle(board, system, "train_s", 1.0, ".1f"),
            f"{max(0.0, max(over)):.1f}" if over else "–",
            _middle(board, system, "row_s", 1e3, ".3g"),
            f"{statistics.median(times):,.3g}" if times else "–",
            _middle(board, system, "batch_s", 1e3, ".3g"),
            _middle(board, system, "size_bytes", 1e-6, ",.3g"),
            _middle(board, system, "peak_bytes", 1e-6, ",.0f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _middle(board: Board, system: str, name: str, scale: float, form: str) -> str:
    value = board.middle(system, name)
    return "–" if value is None else f"{value * scale:{form}}"


def versions(board: Board, titles: Mapping[str, str]) -> str:
    """Which releases ran."""
    lines = ["## Versions\n"]
    for system in board.systems:
        found: dict[str, str] = next((record["versions"] for record in board.all(system) if "versions" in record), {})
        if found:
            lines.append(f"- {titles[system]}: {', '.join(f'{name} {version}' for name, version in found.items())}")
    return "\n".join([*lines, ""])


def failures(board: Board, titles: Mapping[str, str]) -> str:
    """Every run that gave no prediction, with its reason; "" when there is none."""
    lines = [
        f"- {titles[system]} on {record['table']}, seed {record['seed']}: {record['failed'].replace('|', '/')}"
        for system in board.systems
        for record in board.all(system)
        if "failed" in record
    ]
    return "\n".join(["## Failed runs\n", *lines, ""]) if lines else ""
