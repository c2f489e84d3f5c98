"""Step `money`: amounts in cents of USD, exactly rounded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from dpiped.transform.base import FieldName, OneField, Target, Work
from dpiped.transform.paths import NOTHING
from dpiped.transform.sheet import Sheet

_CODE = re.compile(r"[A-Z]{3}")
_WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THOUSANDTHS = "BHD IQD JOD KWD LYD OMR TND"
DIGITS = {**dict.fromkeys(_WHOLE.split(), 0), **dict.fromkeys(_THOUSANDTHS.split(), 3), "CLF": 4, "UYW": 4}
"""Digits behind the point where they are not 2, by currency. Source: ISO 4217, table A.1."""
_LIMIT = 2**63
MOST_SHOWN = 20
"""Unknown currencies that `/admin/stat` names."""


def _check_code(code: str) -> str:
    if not _CODE.fullmatch(code):
        raise ValueError("expected a currency of three capital letters, such as EUR")
    return code


Rate = Annotated[float, Field(gt=0, lt=1e12)]


class MoneyStep(OneField):
    """An amount in some currency becomes whole cents of USD, rounded half away from zero. Never a 0 for what is not
    known: without a rate, without a currency, or with an amount that is no number, the event gets no such field and is
    counted as `money_unknown_currency`, `money_no_currency`, `money_not_a_number` or `money_too_large`.
    """

    do: Literal["money"]
    currency: FieldName = "currency"
    """The field with the currency's code, in any case."""
    rates: dict[Annotated[str, AfterValidator(_check_code)], Rate] = Field(min_length=1, examples=[{"EUR": 1.08}])
    """Code of a currency -> USD for one of it; USD itself is 1."""
    unit: Literal["minor", "major"] = "minor"
    """Amounts are in the smallest unit, as in cents, pence, yen or fils, or in whole euros, pounds, yen."""
    into: Target | Literal[""] = Field(default="", examples=["amount_usd"])
    """Where the cents go; by default the field's path and `_usd`."""

    @model_validator(mode="after")
    def _check(self) -> MoneyStep:
        if self.rates.get("USD", 1) != 1:
            raise ValueError("rates: USD is 1")
        if self.field == self.currency:
            raise ValueError("currency: expected another field than that of the amount")
        return self

    def reads(self) -> Iterable[str]:
        return (self.field, self.currency)

    def writes(self) -> Iterable[str]:
        return (self.into or f"{self.field}_usd",)

    def make(self) -> Work:
        return MoneyWork(self)


class MoneyWork(Work):
    """Remembers what it computed lately: prices repeat."""

    def __init__(self, step: MoneyStep) -> None:
        self._amount, self._currency = step.field, step.currency
        (self._into,) = step.writes()
        self._factors = {code: _factor(code, rate, step.unit) for code, rate in {"USD": 1.0, **step.rates}.items()}
        self._cents = lru_cache(maxsize=20_000)(self._compute)
        self.unknown: dict[str, None] = {}
        """Currencies without a rate, the first of them."""

    def run(self, sheet: Sheet) -> None:
        amounts = sheet.column(self._amount)
        hidden = sheet.hidden(self._amount, amounts)
        if amounts.count(None) == sheet.count and not hidden:
            return
        currencies = sheet.column(self._currency)
        written: list[Any] = [NOTHING] * sheet.count
        failed: dict[str, list[int]] = {"not_a_number": hidden} if hidden else {}
        for at, (amount, currency) in enumerate(zip(amounts, currencies, strict=True)):
            if amount is None:
                continue
            cents = self._one(amount, currency)
            if isinstance(cents, str):
                failed.setdefault(cents, []).append(at)
            else:
                written[at] = cents
        sheet.write(self._into, written, "money")
        for reason, places in failed.items():
            sheet.fail("money", reason, places)

    def _one(self, amount: Any, currency: Any) -> int | str:
        """The cents, or why there are none."""
        if currency is None or currency == "":
            return "no_currency"
        if type(amount) not in (int, float):
            return "not_a_number"
        if type(currency) is not str:
            return "unknown_currency"
        return self._cents(amount, currency)

    def _compute(self, amount: int | float, currency: str) -> int | str:
        factor = self._factors.get(currency) or self._factors.get(currency.upper())
        if factor is None:
            if len(self.unknown) < MOST_SHOWN:
                self.unknown[currency[:20]] = None
            return "unknown_currency"
        if not -_LIMIT < amount < _LIMIT:
            return "too_large"
        exact = (Fraction(amount) if isinstance(amount, int) else Fraction(repr(amount))) * factor
        cents = (abs(exact.numerator) * 2 + exact.denominator) // (exact.denominator * 2)
        if cents >= _LIMIT:
            return "too_large"
        return -cents if exact < 0 else cents


def _factor(code: str, rate: float, unit: Literal["minor", "major"]) -> Fraction:
    """Cents of USD for one unit, exact."""
    units = 10 ** DIGITS.get(code, 2) if unit == "minor" else 1
    return Fraction(repr(rate)) * 100 / units
