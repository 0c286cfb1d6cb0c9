"""The job process: answers batch jobs one after another, oldest first, at the lowest priority.

One a home, by a lock that the system lets go of when its holder dies. It is killed at any moment and goes on.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType

from feature_store.errors import BundleRefused, GancaoError
from feature_store.settings import Settings, from_environment
from serving import formats, job_files, scoring
from serving import predictor as predictors
from serving.job_files import ENDED, Job, State
from serving.log import log
from serving.scoring import Progress

LOOK_S = 0.5
SWEEP_S = 60.0
AGAIN_S = 60.0
"""A job that the disk did not let go on is tried again after so long."""

MOST_STARTS = 4
"""A job that was begun so often without a further chunk of it being kept is given up: it may end the process."""

NICENESS = 19


class Deleted(Exception):
    """The job that is being answered was deleted."""


@dataclass
class Pace:
    """Reports how far a job is, and how long it may take: the rows left at the pace of this run."""

    root: Path
    job: Job
    state: State
    _first: tuple[float, int] = (0.0, 0)

    def begin(self, total: int) -> None:
        """Its rows are counted."""
        self._first = (time.monotonic(), self.state.rows_done)
        self.state = replace(self.state, rows_total=total)
        self.keep()

    def told(self, at: Progress) -> None:
        """After a chunk. Raises Deleted."""
        if at.done == self.state.rows_done:  # they are written now
            if not self.job.folder(self.root).exists():
                raise Deleted
            return
        now = time.monotonic()
        took, rows = now - self._first[0], at.done - self._first[1]
        if rows <= 0:  # a power cut took chunks back
            self._first = (now, at.done)
        self.state = replace(
            self.state,
            rows_done=at.done,
            rows_refused=at.refused,
            seconds_left=round(took / rows * (at.total - at.done), 1) if rows > 0 else None,
            errors=tuple(asdict(error) for error in at.errors),
            starts=0,
        )
        self.keep()

    def keep(self) -> None:
        """Say it. Raises Deleted."""
        try:
            job_files.keep(self.root, self.job, self.state)
        except FileNotFoundError:
            raise Deleted from None


def run(root: Path, job: Job) -> None:
    """Answer a job to its end, or from where it was; what it fails of is told in its state."""
    before = job_files.state(root, job)
    started = before.started or time.time()
    pace = Pace(root, job, replace(before, state="running", started=started, starts=before.starts + 1, detail=None))
    if before.starts >= MOST_STARTS:
        why = f"It was begun {before.starts} times and came no further. Cut the file and send its parts."
        _end(pace, "failed", why)
        return
    try:
        pace.keep()
        _score(pace)
    except Exception as error:
        if isinstance(error, Deleted) or not job.folder(root).exists():
            log("job_deleted", task=job.task, job=job.id)
        elif isinstance(error, OSError):  # the disk is full, say
            log("job_waits", task=job.task, job=job.id, error=error.strerror)
            time.sleep(AGAIN_S)
        else:
            _end(pace, "failed", _reason(error))
    else:
        _end(pace, "done", None)


def _score(pace: Pace) -> None:
    folder, form = pace.job.folder(pace.root), formats.BY_NAME[pace.job.format]
    predictor = predictors.load(folder / "bundle", pace.job.version)
    source = form.source(folder / "input", predictor.task)
    pace.begin(source.total)
    scoring.score(predictor, source, folder / "result", form, folder / "work", pace.told)


def _reason(error: Exception) -> str:
    """What a job failed of, without a path."""
    if isinstance(error, BundleRefused):
        return "The version that was to answer it can't be read any more. Send the file again."
    if isinstance(error, GancaoError):
        return str(error)
    log("internal_error", kind=type(error).__name__, place="job")
    return "This is a fault of the server, not of the file."


def _end(pace: Pace, state: str, detail: str | None) -> None:
    job, ended = pace.job, replace(pace.state, state=state, detail=detail, seconds_left=None, finished=time.time())
    try:
        job_files.end(pace.root, job, ended)
    except FileNotFoundError:
        log("job_deleted", task=job.task, job=job.id)
        return
    log("job_ended", task=job.task, job=job.id, state=state, rows=ended.rows_done, refused=ended.rows_refused)


def follow(settings: Settings) -> None:
    """Answer whatever waits, again and again."""
    root, swept = settings.jobs, float("-inf")
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another server over the same home may hold it
        while True:
            if time.monotonic() - swept > SWEEP_S:
                job_files.sweep(root, settings.job_days)
                swept = time.monotonic()
            waiting = [job for job in job_files.every(root) if job_files.state(root, job).state not in ENDED]
            if waiting:
                run(root, waiting[0])
            else:
                time.sleep(LOOK_S)


def main() -> None:
    """`python -m serving.job_run`: settings come from GANCAO_* variables."""

    def stop(signal_number: int, frame: FrameType | None) -> None:
        os._exit(0)  # what is kept is on disk

    os.nice(NICENESS)
    signal.signal(signal.SIGTERM, stop)
    follow(from_environment())


if __name__ == "__main__":
    main()
