"""Divided networks: wire, faults, and predictions against emulated links."""
