"""What a column's name tells: an identifier, labels, a unit, whether it names an entity or the order of rows."""

from __future__ import annotations

import re
from collections.abc import Iterable

GLOSSARY = {
    "出生体重": "birth weight", "孕周": "gestation weeks", "收缩压": "systolic", "舒张压": "diastolic",
    "血红蛋白": "haemoglobin", "血糖": "glucose", "血型": "blood group", "血压": "blood pressure",
    "体温": "temperature",
    "心率": "heart rate", "年龄": "age", "性别": "sex", "身高": "height", "体重": "weight", "产次": "parity",
    "胎数": "plurality", "科室": "ward", "医院": "hospital", "患者": "patient", "病人": "patient", "诊断": "diagnosis",
    "编号": "id", "序号": "number", "姓名": "name", "日期": "date", "时间": "time", "年份": "year",
    "月份": "month",
    "销售额": "sales", "销量": "units sold", "单价": "unit price", "价格": "price", "金额": "amount",
    "数量": "quantity",
    "库存": "stock", "门店": "store", "商品": "product", "产品": "product", "客户": "customer", "用户": "user",
    "订单": "order", "城市": "city", "省份": "province", "地区": "region", "渠道": "channel", "类别": "category",
    "类型": "type", "品牌": "brand", "折扣": "discount", "温度": "temperature", "湿度": "humidity", "压力": "pressure",
    "流量": "flow", "浓度": "concentration", "得率": "yield", "收率": "yield", "批次": "batch", "结果": "result",
    "费用": "cost", "天数": "days", "时长": "duration", "是否": "is",
}  # fmt: skip
"""Chinese words of column names and the English ones that an identifier is made of, longest match first."""

UNITS = {
    "kg": "kg", "gram": "g", "grams": "g", "mg": "mg", "ug": "ug", "lb": "[lb_av]", "lbs": "[lb_av]", "oz": "[oz_av]",
    "cm": "cm", "mm": "mm", "km": "km", "inch": "[in_i]", "inches": "[in_i]", "ft": "[ft_i]", "mile": "[mi_i]",
    "miles": "[mi_i]", "ml": "mL", "liters": "L", "litres": "L", "years": "a", "yrs": "a", "age": "a", "months": "mo",
    "weeks": "wk", "days": "d", "hours": "h", "hrs": "h", "minutes": "min", "mins": "min", "seconds": "s", "secs": "s",
    "ms": "ms", "pct": "%", "percent": "%", "percentage": "%", "mmhg": "mm[Hg]", "bpm": "/min", "celsius": "Cel",
    "fahrenheit": "[degF]", "kwh": "kW.h", "kw": "kW", "kpa": "kPa", "mpa": "MPa", "bar": "bar", "rpm": "/min",
    "usd": "USD", "eur": "EUR", "gbp": "GBP", "cny": "CNY", "rmb": "CNY", "g dl": "g/dL", "mg dl": "mg/dL",
    "mmol l": "mmol/L", "mg l": "mg/L", "g l": "g/L", "km h": "km/h", "m s": "m/s", "kg m2": "kg/m2", "bmi": "kg/m2",
}  # fmt: skip
"""Last word or words of a name -> unit, in UCUM as far as it has one."""

SHORT = {"g": "g", "m": "m", "s": "s", "h": "h", "d": "d", "l": "L", "in": "[in_i]", "t": "t", "min": "min"}
MEASURES = (
    "weight|mass|height|ht|length|width|depth|distance|diameter|thickness|time|duration|elapsed|delay|volume|wait|wt"
)
"""What a short unit must follow: `weight_g`, `m_ht_in`; a mere `group_s` says nothing."""

BRACKETED = {
    "%": "%", "°c": "Cel", "℃": "Cel", "c": "Cel", "°f": "[degF]", "f": "[degF]", "gm%": "g/dL", "g%": "g/dL",
    "g/dl": "g/dL", "mg/dl": "mg/dL", "mmol/l": "mmol/L", "g/l": "g/L", "kg/m2": "kg/m2", "kg/m²": "kg/m2",
    "$": "USD", "€": "EUR", "元": "CNY", "岁": "a", "年": "a", "月": "mo", "周": "wk", "天": "d", "日": "d",
    "小时": "h",
    "分钟": "min", "秒": "s", "克": "g", "公斤": "kg", "千克": "kg", "斤": "[jin]", "厘米": "cm", "毫米": "mm",
    "米": "m",
    "km/h": "km/h", "m/s": "m/s", "week": "wk", "day": "d", "year": "a", "hour": "h", "month": "mo",
}  # fmt: skip
"""What stands in brackets at the end of a name -> unit."""

_BRACKET = re.compile(r"\s*[(\[（【]\s*([^()\[\]（）【】]{1,12}?)\s*[)\]）】]\s*$")
_KEY = {"id", "ids", "uuid", "guid", "key", "identifier", "unnamed", "rowname", "rownames", "index"}
_ENTITIES = (
    "patient", "mother", "customer", "household", "client", "user", "subject", "person", "member", "family", "account",
    "participant", "employee", "student", "animal", "batch", "lot",
)  # fmt: skip
_CODED = {"code", "zip", "zipcode", "postcode", "postal", "type", "class", "category", "cluster", "grade", "species"}
_CLASSES = {"class", "category", "cluster", "grade", "species", "type", "kind", "label", "result", "status", "group"}
_GROUPS = ("sex", "gender", "term", "plurality", "region", "segment", "channel", "site", "ward", "hospital", "plant")
LONGEST = 63


def words(column: str) -> list[str]:
    """Lower-case ASCII words of a column's name, a unit in brackets included; Chinese ones by the glossary."""
    text = column.strip().replace("%", " pct ").replace("℃", " c ").replace("°", " ")
    for chinese in sorted(GLOSSARY, key=len, reverse=True):
        text = text.replace(chinese, f" {GLOSSARY[chinese]} ")
    text = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", text)
    text = re.sub(r"([A-Z]{2,})([A-Z][a-z])", r"\1 \2", text)
    return [word for word in re.split(r"[^a-z0-9]+", text.lower()) if word]


def identifiers(columns: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Column -> name of a field: `BWt(kg)` is `bwt_kg`, what has no letters of ours `column_7`. None stands twice."""
    used, out = set(taken), {}
    for place, column in enumerate(columns, start=1):
        name = "_".join(words(column))
        if not name or not re.search("[a-z]", name):
            name = f"column_{name}" if name else f"column_{place}"
        elif not name[0].isalpha():
            name = f"n_{name}"
        out[column] = _free(name[:LONGEST].rstrip("_"), used)
        used.add(out[column])
    return out


def _free(name: str, used: set[str]) -> str:
    number, free = 2, name
    while free in used:
        free = f"{name[: LONGEST - len(str(number)) - 1]}_{number}"
        number += 1
    return free


def labels(column: str) -> tuple[str, str]:
    """English and Chinese label. A Chinese name is the Chinese label; else both are the English words."""
    whole = " ".join(column.split())
    bare = _BRACKET.sub("", whole) if unit(column) else whole
    if re.search("[\u4e00-\u9fff]", bare):
        english = " ".join(words(bare))
        return (english.capitalize() or bare, bare)
    spelled = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])|[_.]+", " ", bare)
    parts = [word if _as_it_is(word, bare) else word.lower() for word in spelled.split()]
    spans = {"days", "hours", "weeks", "months", "minutes", "seconds"}  # `delivery_days` is no delivery
    told = parts[-1:] and parts[-1].lower() in {"age", "bmi", *spans}
    if len(parts) > 1 and unit(column) and not told and bare == whole:
        size = 2 if " ".join(parts[-2:]) in UNITS else 1
        parts = parts[:-size] or parts
    english = " ".join(parts) or column or "Column"
    english = english[0].upper() + english[1:]
    return english, english


def _as_it_is(word: str, name: str) -> bool:
    """`SEC` and `BWt` keep their capitals; in a name of several words that is all capitals none does."""
    return any(letter.isupper() for letter in word[1:]) and (not name.isupper() or (name == word and len(word) <= 8))


def unit(column: str) -> str | None:
    """The unit that a name speaks of, or None: a guess."""
    if match := _BRACKET.search(column):
        inside = match[1].lower().replace(" ", "")
        return BRACKETED.get(inside) or UNITS.get(inside) or SHORT.get(inside)
    parts = words(column)
    if not parts:
        return None
    if found := UNITS.get(" ".join(parts[-2:])) or UNITS.get(parts[-1]):
        return found
    if parts[0] == "age" or (len(parts) > 1 and parts[-1] in SHORT and re.fullmatch(MEASURES, parts[-2])):
        return SHORT.get(parts[-1], "a")
    return None


def is_key(column: str) -> bool:
    """Whether it is called an id, a key or an index."""
    return bool(_KEY & set(words(column)))


def entity(column: str) -> int | None:
    """The place of the entity that it names in the order of preference (a patient before a batch), or None."""
    return next((place for place, word in enumerate(_ENTITIES) if word in words(column)), None)


def is_coded(column: str) -> bool:
    """Whether whole numbers under this name are names of things rather than amounts."""
    return is_key(column) or bool(_CODED & set(words(column)))


def is_class(column: str) -> bool:
    """Whether whole numbers of a target of this name are classes."""
    return bool(_CLASSES & set(words(column)))


def group(column: str) -> int | None:
    """The place of a name for which results are usually reported (sex, region), or None."""
    return next((place for place, word in enumerate(_GROUPS) if word in words(column)), None)


def is_birth(column: str) -> bool:
    """Whether a date is somebody's day of birth, which orders no rows."""
    return bool({"birth", "birthday", "dob", "born"} & set(words(column))) or "出生" in column
