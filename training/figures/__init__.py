"""The figures of a version, one file a theme; `training/plots.py` says which kind of target has which."""
