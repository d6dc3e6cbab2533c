"""Machines as data: described in TOML, detected, calibrated, checked."""
