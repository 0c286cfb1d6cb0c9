"""What `/metrics` tells of batch jobs: how many of each task are kept, by state; from their folders."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from serving import job_files
from serving.exposition import Family


def families(root: Path) -> list[Family]:
    """The metrics as they are this moment, the same whichever worker is asked. root: the folder of batch jobs."""
    jobs = Family("gancao_jobs", "gauge", "Batch jobs that are kept, by state.", ("task", "state"))
    counted = Counter((job.task, job_files.state(root, job).state) for job in job_files.every(root))
    for (task, state), n in sorted(counted.items()):
        jobs.add(n, task, state)
    return [jobs]
