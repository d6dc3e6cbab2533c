"""What leaves a run: immutable, checked, complete or absent."""
