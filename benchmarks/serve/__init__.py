"""Claims about serving, measured and simulated."""
