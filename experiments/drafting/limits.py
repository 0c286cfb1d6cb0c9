"""Readable limits of a number, and values that no measurement reaches."""

from __future__ import annotations

import math

import numpy as np

from experiments.drafting.write import number

SLIP_WIDTHS, SLIP_SHARE = 3.0, 0.005


def slips(known: np.ndarray) -> tuple[float, float] | None:
    """The range without a few values that no measurement reaches (a height of 10 among 120 to 180); None without any.

    They lie SLIP_WIDTHS times the width of the middle 98 % of rows beyond it, also on a logarithmic scale, so that a
    long tail (incomes, cigarettes a day) is none; and they are SLIP_SHARE of the rows or fewer.
    """
    if known.size < 50:
        return None
    away = np.ones(known.size, dtype=bool)
    usual = np.median(np.abs(known[known != 0])) if np.any(known) else 0.0
    if not 0 < usual < 1e100:
        return None
    for values in (known, np.sign(known) * np.log1p(np.abs(known) / usual)):
        low, high = np.quantile(values, [0.01, 0.99], method="inverted_cdf")
        away &= (values < low - SLIP_WIDTHS * (high - low)) | (values > high + SLIP_WIDTHS * (high - low))
        if high <= low:
            return None
    if not away.any() or away.sum() > max(2, SLIP_SHARE * known.size):
        return None
    kept = known[~away]
    return float(kept.min()), float(kept.max())


def limits(known: np.ndarray, unit: str | None = None) -> tuple[float, float]:
    """Readable limits around all values, a quarter of the middle 98 % or a twentieth of the range wider on either side.

    0 is not passed by what is never negative, nor 1 by shares, nor 100 by per cent.
    """
    low, high = float(known.min()), float(known.max())
    first, last = (float(q) for q in np.quantile(known, [0.01, 0.99], method="inverted_cdf"))
    width = (last - first) or (high - low) or 1.0
    wide = min(low - (high - low) / 20, first - width / 4), max(high + (high - low) / 20, last + width / 4)
    if not math.isfinite(wide[1] - wide[0]) or wide[1] - wide[0] > 1e300:
        return low, high
    step = _readable((wide[1] - wide[0]) / 10)
    if np.all(known == np.floor(known)):
        step = max(1.0, step)
    a, b = _down(wide[0], step), -_down(-wide[1], step)
    if low >= 0:
        a = max(a, 0.0)
    if high <= 0:
        b = min(b, 0.0)
    for top in (1.0,) if unit is None else (100.0,) if unit == "%" else ():
        b = top if top / 2 < high <= top < b and low >= 0 else b
    return min(a, low), max(b, high)


def _down(value: float, step: float) -> float:
    """The multiple of a step at or below a value, without the noise of floats."""
    return float(f"{math.floor(value / step + 1e-9) * step:.12g}")


def _readable(value: float) -> float:
    """1, 2 or 5 times a power of ten, at or below a positive value."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return float(f"{next(m for m in (5, 2, 1) if m * power <= value * (1 + 1e-9)) * power:.12g}")


def short(value: float) -> str:
    """A number for a comment."""
    return number(float(f"{value:.5g}")) if math.isfinite(value) else str(value)
