"""How to learn it: read, split, search, ensemble, calibrate, evaluate, record."""
