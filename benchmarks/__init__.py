"""Measurements on the machine at hand: ratios taken side by side in one run, written to `results/` as JSON."""
