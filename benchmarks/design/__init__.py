"""Receptive fields, rank correlation with published accuracies, and the headline."""
