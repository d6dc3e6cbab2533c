"""The 3D receptive field of a network, and a static optimizer that rewrites it."""
