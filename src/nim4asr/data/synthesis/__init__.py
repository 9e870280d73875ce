"""Synthetic speech, and corpora of it."""
