"""Boosted trees from LightGBM text, answered through its C library.

`import lightgbm` brings a Python layer that prediction does not need, and with it most of a worker's start and memory
(docs/benchmarks/decisions.md). XGBoost models come here translated (see `training/translate.py`).
"""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

import numpy as np

from feature_store.errors import BundleRefused

_FLOAT64, _RAW_SCORE, _LEAF, _CONTRIBUTIONS, _ROW_MAJOR = 1, 1, 2, 3, 1
_PARAMETERS = b"num_threads=1"


@cache
def _library() -> ctypes.CDLL:
    spec = importlib.util.find_spec("lightgbm")
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        for relative in ("lib/lib_lightgbm.so", "lib/lib_lightgbm.dylib", "bin/lib_lightgbm.dll"):
            if (path := Path(folder) / relative).exists():
                library = ctypes.CDLL(str(path))
                library.LGBM_GetLastError.restype = ctypes.c_char_p
                return library
    raise BundleRefused("LightGBM's library is not installed, so no model can answer. Run: pip install lightgbm")


def _call(name: str, *arguments: object) -> None:
    if getattr(_library(), name)(*arguments) != 0:
        raise _refused(name)


def _refused(name: str) -> BundleRefused:
    return BundleRefused(f"LightGBM refused the model ({name}): {_library().LGBM_GetLastError().decode()}")


class Trees:
    """A tree model that is read once and answers rows; not to be shared between threads.

    Give it only text whose digest was checked: LightGBM's parser may kill the process on a truncated model.
    """

    def __init__(self, text: str, width: int) -> None:
        """text: a LightGBM model; width: number of columns. Raises BundleRefused when they do not fit."""
        self.text, self.width = text, width
        self._handle, self._fast = ctypes.c_void_p(), ctypes.c_void_p()
        rounds, features, outputs = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        _call("LGBM_BoosterLoadModelFromString", text.encode(), ctypes.byref(rounds), ctypes.byref(self._handle))
        _call("LGBM_BoosterGetNumFeature", self._handle, ctypes.byref(features))
        _call("LGBM_BoosterGetNumClasses", self._handle, ctypes.byref(outputs))
        if features.value != width:
            raise BundleRefused(f"A tree model takes {features.value} columns, the Task gives {width}. Train again.")
        self.outputs, self._length = outputs.value, ctypes.c_int64()
        self._row, self._out = np.empty(width), np.empty((1, self.outputs))
        self._trees = rounds.value * outputs.value
        _call(
            "LGBM_BoosterPredictForMatSingleRowFastInit",
            self._handle,
            _RAW_SCORE,
            0,
            -1,
            _FLOAT64,
            ctypes.c_int32(width),
            _PARAMETERS,
            ctypes.byref(self._fast),
        )
        pointers = (self._row.ctypes.data_as(ctypes.c_void_p), ctypes.byref(self._length))
        self._single = _library().LGBM_BoosterPredictForMatSingleRowFast
        self._arguments = (self._fast, *pointers, self._out.ctypes.data_as(ctypes.c_void_p))

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """(n, outputs) raw scores of a (n, width) float64 matrix. One row and many give the same bits."""
        if len(matrix) == 1:
            self._row[:] = matrix[0]
            if self._single(*self._arguments) != 0:
                raise _refused("LGBM_BoosterPredictForMatSingleRowFast")
            return self._out.copy()
        return self._batch(matrix, _RAW_SCORE, self.outputs)

    def contributions(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, width, outputs) exact SHAP values on the raw scale, and (outputs,) the base that a row's are added to.

        The base is the mean over the training rows' paths; n is 1 or more. Some 300 times the cost of a prediction.
        Not finite where the text holds no counts of training rows.
        Source: Lundberg et al. 2020, Nature Machine Intelligence 2, algorithm 2 (LightGBM's own).
        """
        flat = self._batch(matrix, _CONTRIBUTIONS, self.outputs * (self.width + 1))
        split = flat.reshape(len(flat), self.outputs, self.width + 1)
        return split[:, :, :-1].transpose(0, 2, 1), split[0, :, -1]

    def leaves(self, matrix: np.ndarray) -> np.ndarray:
        """(n, trees) the leaf that each row of (n, width) reaches in each tree; n is 1 or more."""
        return self._batch(matrix, _LEAF, self._trees).astype(np.int64)

    def _batch(self, matrix: np.ndarray, kind: int, width: int) -> np.ndarray:
        matrix = np.ascontiguousarray(matrix, dtype=np.float64)
        out = np.empty((len(matrix), width))
        if len(matrix):
            _call(
                "LGBM_BoosterPredictForMat",
                self._handle,
                matrix.ctypes.data_as(ctypes.c_void_p),
                _FLOAT64,
                ctypes.c_int32(len(matrix)),
                ctypes.c_int32(self.width),
                _ROW_MAJOR,
                kind,
                0,
                -1,
                _PARAMETERS,
                ctypes.byref(self._length),
                out.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
            )
        return out

    def __del__(self) -> None:
        if getattr(self, "_fast", None):
            _library().LGBM_FastConfigFree(self._fast)
        if getattr(self, "_handle", None):
            _library().LGBM_BoosterFree(self._handle)
