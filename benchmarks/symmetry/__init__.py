"""Invariances learned, against networks that are told of them."""
