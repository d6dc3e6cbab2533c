"""The network as data, self-contained."""
