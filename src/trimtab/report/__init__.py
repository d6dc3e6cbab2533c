"""The report: draws the sections of a bundle as one file, knows no capability."""
