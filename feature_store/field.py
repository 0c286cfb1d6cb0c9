"""The fields of a Task: what may be asked for, in which unit, and within which limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Frozen(BaseModel):
    """Plain data: strict types, no unknown keys, never changed after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
"""A lower-case identifier: it is a column, a JSON key and part of a URL."""

Number = Annotated[float, Field(allow_inf_nan=False, strict=False)]
"""A finite number; YAML may write it as an integer."""


class Text(Frozen):
    """The same words in English and Chinese. A plain string stands for both."""

    en: str = Field(min_length=1)
    zh: str = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        return {"en": data, "zh": data} if isinstance(data, str) else data

    def __getitem__(self, lang: str) -> str:
        return self.zh if lang == "zh" else self.en


class Choice(Frozen):
    """One allowed value of a category, and what people read for it."""

    value: str = Field(min_length=1, max_length=100)
    label: Text

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"value": data, "label": data.replace("_", " ")}
        if isinstance(data, dict) and "value" in data and "label" not in data:
            return {**data, "label": str(data["value"]).replace("_", " ")}
        return data


class _Common(Frozen):
    name: Name
    label: Text
    help: Text | None = None
    required: bool = False
    code: str | None = Field(default=None, description="Terminology code such as LOINC 8302-2.")

    @model_validator(mode="before")
    @classmethod
    def _default_label(cls, data: Any) -> Any:
        if isinstance(data, dict) and "label" not in data and isinstance(data.get("name"), str):
            return {**data, "label": data["name"].replace("_", " ").capitalize()}
        return data


class NumberField(_Common):
    """A quantity. `limits` are inclusive and hard: a value beyond them is refused, everywhere."""

    type: Literal["number"]
    unit: str | None = None
    limits: tuple[Number, Number] = Field(strict=False)
    integer: bool = False
    monotone: Literal["increasing", "decreasing"] | None = None


class CategoryField(_Common):
    """One of several words. Without `choices` they are learnt from the table and unseen ones warn."""

    type: Literal["category"]
    choices: tuple[Choice, ...] | None = Field(default=None, strict=False)


class FlagField(_Common):
    """Yes or no."""

    type: Literal["flag"]


class DateField(_Common):
    """A calendar day, `YYYY-MM-DD`; the model sees days since 1970-01-01."""

    type: Literal["date"]
    limits: tuple[str, str] | None = Field(default=None, strict=False)


AnyField = Annotated[NumberField | CategoryField | FlagField | DateField, Field(discriminator="type")]
