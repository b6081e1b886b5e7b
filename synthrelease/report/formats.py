"""Numbers and names as a reader sees them: the only place where the report turns values into text."""

from __future__ import annotations

import unicodedata
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Literal

from synthrelease.records import Rate

Rounding = Literal["nearest", "up", "down"]
MISSING = "not available"
MINUS = "\N{MINUS SIGN}"
SPACE = "\N{NO-BREAK SPACE}"

_ROUNDING = {"nearest": ROUND_HALF_EVEN, "up": ROUND_CEILING, "down": ROUND_FLOOR}
_LEAST, _TENTH, _MOST = Decimal("0.01"), Decimal("0.1"), Decimal("99.9")  # per cent; finer only confuses
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # controls, direction marks, lone surrogates, odd line ends


def shown(text: str) -> str:
    """Return ``text`` with every invisible character written out, e.g. a line break as ``\\n``."""
    if text.isprintable():  # also spares the megabytes of base64 that pass through here
        return text
    return "".join(_visible(char) if unicodedata.category(char) in _INVISIBLE else char for char in text)


def percent(share: float | None, rounding: Rounding = "nearest") -> str:
    """Return a share as a percentage, no finer than a reader needs: "1.2 %", "0.040 %", "< 0.01 %", "> 99.9 %".

    Args:
        share: 1 is 100 %; may be negative. None gives "not available".
        rounding: "up" for an upper bound, "down" for a lower one, so that no bound looks better than it is.
    """
    if share is None:
        return MISSING
    exact = Decimal(repr(float(share))) * 100
    if 0 < abs(exact) < _LEAST:
        return _next_to_nothing(exact, rounding)
    if _MOST < exact < 100:  # 99.96 % must not read as 100 %
        return _per_cent("100") if rounding == "up" else f">{SPACE}{_per_cent(str(_MOST))}"
    decimals = 0 if exact in (0, 100) else 1 if abs(exact) >= 1 else 2 if abs(exact) >= _TENTH else 3
    return _per_cent(str(exact.quantize(Decimal(1).scaleb(-decimals), rounding=_ROUNDING[rounding])))


def _next_to_nothing(exact: Decimal, rounding: Rounding) -> str:
    if exact > 0:
        return _per_cent("0") if rounding == "down" else f"<{SPACE}{_per_cent(str(_LEAST))}"
    return _per_cent("0") if rounding == "up" else f">{SPACE}{_per_cent(str(-_LEAST))}"


def _per_cent(digits: str) -> str:
    return f"{digits.replace('-', MINUS)}{SPACE}%"


def number(value: float | None) -> str:
    """Return a plain number: three decimals below 100, fewer above, powers of ten where it is tiny."""
    if value is None:
        return MISSING
    size = abs(value)
    if value == int(value) and size < 1e15:
        text = f"{int(value):,}"
    elif size >= 1000:
        text = f"{value:,.0f}"
    elif size >= 0.001:
        text = f"{value:.1f}" if size >= 100 else f"{value:.3f}"
    else:
        digits, power = f"{value:.1e}".split("e")
        text = f"{digits} × 10{_raised(int(power))}"
    return text.replace("-", MINUS)


def score(value: float | None) -> str:
    """Return a similarity score with three decimals."""
    return MISSING if value is None else f"{value:.3f}".replace("-", MINUS)


def p_value(value: float | None) -> str:
    """Return a p- or q-value: three decimals, powers of ten below 0.001."""
    if value is None:
        return MISSING
    return number(value) if 0 < value < 0.001 else f"{value:.3f}"


def count(value: int | None) -> str:
    """Return a count with separators between thousands."""
    return MISSING if value is None else f"{value:,}".replace("-", MINUS)


def counted(value: int, singular: str, plural: str | None = None) -> str:
    """Return a count with its noun: "1 patient", "2,000 images"."""
    return f"{count(value)} {singular if value == 1 else plural or singular + 's'}"


def between(low: float, high: float) -> str:
    """Return an interval of shares in per cent."""
    return f"{percent(low)} to {percent(high)}"


def span(low: float, high: float) -> str:
    """Return an interval of scores or of areas under a curve."""
    return f"{score(low)} to {score(high)}"


def rate(value: Rate | None) -> str:
    """Return a rate with its interval and the count behind it, in one line."""
    if value is None:
        return MISSING
    subjects = "" if value.subjects is None else f", {counted(value.subjects, 'subject')}"
    images = f"{counted(value.count, 'image')}{subjects}"
    return f"{percent(value.value)} (95{SPACE}% interval {between(value.low, value.high)}; {images})"


def _visible(char: str) -> str:
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char, f"\\u{{{ord(char):x}}}")


def _raised(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
