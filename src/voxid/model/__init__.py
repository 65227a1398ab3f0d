"""A model: features, encoder and calibration, in one folder. `card` needs no torch; `network` does."""
