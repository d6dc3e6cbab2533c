"""From a bundle to something that runs, and what is seen while it does."""
