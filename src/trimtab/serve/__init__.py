"""Recommendation served within a bound on its tail latency, scheduled by itself.

After "DeepRecSys: A System for Optimizing End-To-End At-scale Neural Recommendation
Inference" (arXiv 2001.02772), which splits large queries into batches over cores and
sends the largest to an accelerator; its abstract and first page are used here, and what
its public code does is stated where it differs.
"""
