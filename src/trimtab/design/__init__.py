"""The 3D receptive field of a network, and a static optimizer that rewrites it."""

from trimtab.design.search import Problem, Result, analyze, optimize

__all__ = ["Problem", "Result", "analyze", "optimize"]
