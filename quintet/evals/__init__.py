"""Scores: how a model behaves in live scenes that it never saw, judged by others than itself."""
