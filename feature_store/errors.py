"""Every error a user can meet; each says what happened, to which value, and what to do now.

They know nothing of HTTP: `serving/problems.py` alone maps them to status codes.
"""

from __future__ import annotations

from dataclasses import dataclass


class GancaoError(Exception):
    """A refusal with a reason: the launcher prints it and exits with 1, the server answers 4xx or 5xx."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a Task file.

    where: dotted path such as `fields[3].limits`; line: 1-based, 0 when unknown.
    """

    where: str
    message: str
    remedy: str
    line: int = 0

    def __str__(self) -> str:
        place = f"line {self.line}, " if self.line else ""
        return f"{place}{self.where or 'the file'}: {self.message} {self.remedy}".rstrip()


class TaskInvalid(GancaoError):
    """A Task file that does not hold together; carries all its problems at once."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.source, self.problems = source, problems
        lines = "\n".join(f"  {problem}" for problem in problems)
        noun = "problem" if len(problems) == 1 else "problems"
        super().__init__(f"{source} has {len(problems)} {noun}:\n{lines}")


class ViewInvalid(TaskInvalid):
    """A View file that does not hold together; carries all its problems at once."""


class UnknownTask(GancaoError):
    """No Task of that name or path."""


class UnknownView(GancaoError):
    """No View of that name or path."""


class EventRefused(GancaoError):
    """An event that a view can't take. reason: a key of `feature_store.event.REASONS`; column: where."""

    def __init__(self, reason: str, column: str) -> None:
        self.reason, self.column = reason, column
        super().__init__(f"{reason} in {column}")


class OriginsUnfit(GancaoError):
    """A table of origins without the columns that a view asks for."""


class SumTooLarge(GancaoError):
    """A sum, or a difference of sums, that 64 bits do not hold."""


class TableMissing(GancaoError):
    """A source of the Task is not where it should be."""


class TableUnreadable(GancaoError):
    """DuckDB could not run the Task's SQL."""


class TableRefused(GancaoError):
    """The table has problems that training must not paper over."""


class NotDrafted(GancaoError):
    """A table from which no Task can be drafted, or a file that a draft would overwrite."""


class LeakageFound(GancaoError):
    """Fields or rows that tell the answer in training and would be absent when it is asked; carries all leaks."""

    def __init__(self, task: str, leaks: list[str]) -> None:
        self.leaks = leaks
        noun = "leak" if len(leaks) == 1 else "leaks"
        super().__init__("\n".join([f"{task} has {len(leaks)} {noun}, so nothing was learnt.", *leaks]))


class TooFewRows(GancaoError):
    """Not enough rows for what was asked."""


class TooFewGroups(GancaoError):
    """Not enough groups to hold some out and fold the others."""


class TooFewTimes(GancaoError):
    """Not enough different times to hold the last ones out and fold the others."""


class GapTooWide(GancaoError):
    """A split's gap leaves (next to) nothing to learn from."""


class BaselineRefused(GancaoError):
    """A baseline's query whose result is no prediction of the holdout."""


class NothingLearnt(GancaoError):
    """No trial finished with a finite loss, so there is no version."""


class RunUnusable(GancaoError):
    """`--resume` names a run that is absent or belongs to other data, Task or seed."""


class BundleRefused(GancaoError):
    """A model version whose files are missing, altered or do not reproduce their golden rows."""


class UnknownVersion(GancaoError):
    """No such version in the registry."""


class NotComparable(GancaoError):
    """Two versions that share no holdout."""


class RegistryUnreachable(GancaoError):
    """MLflow did not answer."""


class BodyRefused(GancaoError):
    """A request that is not readable JSON of the agreed shape."""


class TooLarge(GancaoError):
    """A body, or a list of rows, beyond its limit."""


class NotExplained(GancaoError):
    """A version that holds nothing to explain its answers beside."""


class JournalBusy(GancaoError):
    """A rotation of the journal is under way already."""


class JournalFull(GancaoError):
    """The journal could not be written or read, so no answer may leave and no outcome is confirmed."""


class JournalAway(JournalFull):
    """The server that keeps the journal can't be reached, or takes nothing now."""


class KeyMissing(GancaoError):
    """A request without a key, where one is needed."""


class KeyRefused(GancaoError):
    """A key, token or session that is not accepted. Its words are the same whatever is wrong with it.

    why: for the log; key: the id that it named, if there is a key of that id.
    """

    def __init__(self, message: str, why: str = "", key: str | None = None) -> None:
        self.why, self.key = why, key
        super().__init__(message)


class NotAllowed(GancaoError):
    """A key that is accepted, but not for this. scope: the one that it lacks, or ""."""

    def __init__(self, message: str, scope: str = "") -> None:
        self.scope = scope
        super().__init__(message)


class ForeignSite(GancaoError):
    """A browser was made to send this by another site, or by a page of another session."""


class StrangeHost(GancaoError):
    """A request by a name that is not this server's: a page whose name leads here only for the moment, say."""


class TooOften(GancaoError):
    """More requests a minute than a key may make. wait_s: whole seconds until the next one may be made."""

    def __init__(self, message: str, wait_s: int) -> None:
        self.wait_s = wait_s
        super().__init__(message)


class UnknownKey(GancaoError):
    """No key has that id."""


class KeysUnreadable(GancaoError):
    """What keys are checked against can't be read, so nobody is let in."""


class FormatRefused(GancaoError):
    """A file of rows in a format that is not read here."""


class UnknownJob(GancaoError):
    """No batch job of that id: there never was one, or it was deleted."""


class JobConflict(GancaoError):
    """What was asked does not fit the job as it is: its result before it is done, its key for another file."""


class JobNotKept(GancaoError):
    """An upload that the disk did not take, so there is no job of it."""


@dataclass(frozen=True)
class RowError:
    """One thing that is wrong with one row of a request. It never holds the value that was sent."""

    row: int
    field: str
    code: str
    message: str


class RowsRefused(GancaoError):
    """Rows that break the Task's limits; carries every error of every row (up to a bound)."""

    def __init__(self, errors: list[RowError]) -> None:
        self.errors = errors
        super().__init__(f"{len(errors)} value{'s' if len(errors) != 1 else ''} refused")


class Usage(GancaoError):
    """The command's words or settings are wrong: exit code 2."""


class UnknownEntity(GancaoError):
    """An entity of which a view knows nothing."""


class InstantRefused(GancaoError):
    """An instant that can't be read, or that lies before what the online store has kept."""


class OnlineUnreachable(GancaoError):
    """The online store did not answer, or can't be used."""
