"""Servers that people build today, asked over HTTP as `trimtab serve` is."""
