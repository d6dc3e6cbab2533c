"""The run file, and its stages in order."""
