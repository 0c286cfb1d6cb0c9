"""How to answer: bundle, encoder, predictor, journal, REST and form."""
