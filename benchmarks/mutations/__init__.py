"""Requests of the Open Inference Protocol that are broken at random, each by its number and so again the same."""
