"""The decision that an answer comes to: what to order, whom to roster, what to promise, which rows to choose."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from feature_store.field import Frozen, Name, Number

_Amount = Annotated[Annotated[float, Field(ge=0, allow_inf_nan=False)] | Name, Field()]
_AMOUNT: TypeAdapter[float | str] = TypeAdapter(_Amount)


def _one_or_the_other(value: Any) -> Any:
    """The union would report a wrong value twice, once as a number and once as a name."""
    try:
        return _AMOUNT.validate_python(value, strict=True)
    except ValidationError:
        raise ValueError("it takes a number from 0 on, or the name of a number field") from None


AmountOrField = Annotated[_Amount, BeforeValidator(_one_or_the_other)]
"""The same amount for every row, or the number field that holds each row's own."""


class OrderQuantity(Frozen):
    """How much to order of what is demanded: the newsvendor's quantity, in the target's unit."""

    kind: Literal["order_quantity"]
    understock: Number = Field(gt=0, description="Cost of each unit that is asked for and not there.")
    overstock: Number = Field(gt=0, description="Cost of each unit that is left over.")
    pack: Number = Field(default=1.0, gt=0, description="Units a pack; orders are whole packs.")
    minimum: Number = Field(default=0.0, ge=0, description="The smallest order that is accepted.")
    on_hand: Name | None = Field(default=None, description="The number field of what is there already.")


class Headcount(Frozen):
    """How many people an interval needs, from what arrives in it: by a rate of work, or by waiting time (Erlang C)."""

    kind: Literal["headcount"]
    interval_s: Number | None = Field(default=None, gt=0, description="Seconds in which the target is counted.")
    handling_s: Number | None = Field(default=None, gt=0, description="Seconds that a person is busy with one unit.")
    productivity: Number | None = Field(default=None, gt=0, description="Units that a person handles in the interval.")
    within_s: Number | None = Field(default=None, ge=0, description="Seconds within which units are to be answered.")
    answered: Number | None = Field(default=None, gt=0, lt=1, description="Share that is to be answered within_s.")
    level: Number = Field(default=0.5, gt=0, lt=1, description="The quantile of demand that is staffed for.")
    shrinkage: Number = Field(default=0.0, ge=0, lt=1, description="Share of paid time that is not spent at work.")


class Promise(Frozen):
    """By when: a duration that is kept with a chance of `level`, and the day on which it ends."""

    kind: Literal["promise"]
    level: Number = Field(default=0.9, gt=0, lt=1, description="The chance with which the promise is to be kept.")
    start: Name | None = Field(default=None, description="The date field from which the duration counts.")


class Shortlist(Frozen):
    """Which rows of one request to choose within a budget: of rows, or of money where a row has a cost."""

    kind: Literal["shortlist"]
    budget: Number = Field(gt=0, description="Rows to choose; with `cost`, the money to spend.")
    cost: AmountOrField | None = Field(default=None, description="What a row costs; the rows then share out money.")
    worth: AmountOrField | None = Field(
        default=None, description="Of a binary target: what its positive class is worth."
    )


Decision = Annotated[OrderQuantity | Headcount | Promise | Shortlist, Field(discriminator="kind")]
