"""Scores of maps on recordings: runs, held-out metrics, reports, benchmarks (docs/evaluation.md)."""
