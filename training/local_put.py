"""Arrays shared by the workers of one machine: files of a folder, mapped and not copied."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class FolderPut:
    """Arrays as `<name>.<mark>.npy` in `folder`."""

    folder: Path
    names: tuple[str, ...]
    mark: str

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name, read-only."""
        return dict(zip(self.names, _mapped(self), strict=True))


def lay_out(arrays: dict[str, np.ndarray], folder: Path) -> FolderPut:
    """Write the arrays; the files of an earlier put stay as they are, for they may be mapped.

    Raises ValueError for arrays of Python objects.
    """
    folder.mkdir(parents=True, exist_ok=True)
    put = FolderPut(folder.resolve(), tuple(arrays), uuid.uuid4().hex[:8])
    for name, array in arrays.items():
        np.save(_file(put, name), array, allow_pickle=False)
    return put


def _file(put: FolderPut, name: str) -> Path:
    return put.folder / f"{name}.{put.mark}.npy"


@lru_cache(maxsize=1)  # what is mapped counts as the process's memory
def _mapped(put: FolderPut) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(np.load(_file(put, name), mmap_mode="r", allow_pickle=False)) for name in put.names)
