"""A column of words as a flag, a category with its choices, one whose words are learnt, or as names to leave out."""

from __future__ import annotations

from collections import Counter

from experiments.drafting import names
from experiments.drafting.guess import Guess, empty, yes_of
from experiments.drafting.raw import LeftOut, Raw, counts, is_unknown
from experiments.drafting.write import literal, literals, scalar, shown

MOST_CHOICES, MOST_LETTERS = 12, 60
"""Words up to so many, of so many letters, are listed as choices; more are learnt from the table."""

MANY_WORDS, ROWS_A_WORD, MOST_WORDS = 50, 10, 1000
"""Beyond MANY_WORDS a category needs ROWS_A_WORD rows a word in the mean: rarer ones are names, not kinds."""

YES = {"yes", "y", "true", "t", "1", "是", "有"}
NO = {"no", "n", "false", "f", "0", "否", "无"}


def look(raw: Raw, name: str) -> Guess | LeftOut:
    """What a column of words is."""
    found = counts(raw.array)
    unknown = [word for word in found if is_unknown(word)]
    known = Counter({word: n for word, n in found.items() if not is_unknown(word)})
    if reason := empty(raw, known.total()):
        return reason
    done = (f"{_listed(unknown)}: unknown",) if unknown else ()
    if flag := _yes_or_no(known):
        yes = [word for word in known if word.strip(" ").casefold() in YES]
        told = without(raw.sql, unknown) if unknown else raw.sql
        sql = f"{told} = {literal(yes[0])}" if len(yes) == 1 else f"{told} IN ({literals(yes)})"
        return Guess(
            raw.column, name, "flag", sql, (), (yes_of(sum(known[word] for word in yes), known.total()),), done, flag
        )
    sql, merged, spelled = one_spelling(raw.sql, known)
    if len(merged) == 1:
        return LeftOut(raw.column, f"always {shown(repr(next(iter(merged))))} where known")
    if reason := too_rare(raw.column, merged):
        return reason
    if spelled:
        done = (spelled, *done)
    if unknown:
        sql = without(sql, [_folded(word, sql) for word in unknown])
    return category(raw.column, name, sql, merged, done)


def category(column: str, name: str, sql: str, words: Counter[str], done: tuple[str, ...]) -> Guess:
    smallest = min(words.values()) / words.total()
    if len(words) > MOST_CHOICES or max(map(len, words)) > MOST_LETTERS:
        return Guess(column, name, "category", sql, (), (f"its {len(words):,} words are learnt from the table",), done)
    rare = [word for word, n in words.items() if n < max(3, min(6, 0.002 * words.total())) and words.total() >= 100]
    notes = (f"rare, a slip? {', '.join(f'{shown(repr(word), 20)} {words[word]}x' for word in rare[:3])}",) * bool(rare)
    choices = f"[{', '.join(scalar(word) for word in sorted(words))}]"
    return Guess(column, name, "category", sql, (("choices", choices),), notes, done, smallest, "", tuple(words))


def _listed(words: list[str]) -> str:
    return ", ".join(shown(repr(word), 20) for word in words[:3]) + (", ..." if len(words) > 3 else "")


def _yes_or_no(known: Counter[str]) -> float:
    """The smaller share of a yes and no, whatever their case; 0 where they are something else."""
    folded: Counter[str] = Counter()
    for word, n in known.items():
        folded[word.strip(" ").casefold()] += n
    if len(folded) != 2 or len(folded.keys() & YES) != 1 or len(folded.keys() & NO) != 1:
        return 0.0
    return min(folded.values()) / folded.total()


def _folded(word: str, sql: str) -> str:
    """A word as an expression of `one_spelling` gives it."""
    word = word.strip(" ") if "trim(" in sql else word
    return word.lower() if sql.startswith("lower(") else word.upper() if sql.startswith("upper(") else word


def one_spelling(sql: str, known: Counter[str]) -> tuple[str, Counter[str], str]:
    """Blanks at the ends and the case of letters, where words differ in no more; ASCII alone is folded."""
    out, before = sql, len(known)
    trims = any(word != word.strip(" ") for word in known)
    if trims:
        out = f"trim({sql})"
    if all(word.isascii() for word in known) and len({_folded(word, out).lower() for word in known}) < len(
        {_folded(word, out) for word in known}
    ):
        out = f"{'upper' if _is_code(next(iter(known)).strip()) else 'lower'}({out})"
    merged: Counter[str] = Counter()
    for word, n in known.items():
        merged[_folded(word, out)] += n
    note = f"{before} spellings made {len(merged)}" if len(merged) < before else ""
    return out, Counter(dict(merged.most_common())), note


def _is_code(word: str) -> bool:
    """`PT`, `B(+ve)`: written in capitals rather than small."""
    return word.isupper() or (word[:1].isupper() and not word.isalpha() and len(word) <= 8)


def without(sql: str, unknown: list[str]) -> str:
    once = list(dict.fromkeys(unknown))
    if len(once) == 1:
        return f"nullif({sql}, {literal(once[0])})"
    return f"CASE WHEN {sql} NOT IN ({literals(once)}) THEN {sql} END"


def too_rare(column: str, words: Counter[str]) -> LeftOut | None:
    """Words that hardly come back are identifiers or free text."""
    rows, distinct = words.total(), len(words)
    if (distinct >= 0.9 * rows and rows >= 20) or (names.is_key(column) and distinct > MANY_WORDS):
        return LeftOut(column, f"an identifier or free text: {distinct:,} different words in {rows:,} rows")
    too_many = distinct > MOST_WORDS or (distinct > MANY_WORDS and rows < ROWS_A_WORD * distinct)
    if too_many or (distinct > rows / 2 and rows >= 20):
        each = rows / distinct
        reason = f"{distinct:,} different words of {each:.1f} rows each, too rare to learn from: group them in data.sql"
        return LeftOut(column, reason)
    return None
