"""Serving: every number that is claimed of it."""
