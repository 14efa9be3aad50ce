"""Scores: feature extractors, metrics, and the scores of a run."""
