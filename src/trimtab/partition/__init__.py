"""A network divided between an edge machine and the cloud.

After "The Case for Adaptive Deep Neural Networks in Edge Computing" (arXiv 2008.01814),
which asks when a division has to change; only its abstract is used here.
"""
