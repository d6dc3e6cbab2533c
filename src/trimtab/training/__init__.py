"""The one training loop and the data loaders of every capability that trains."""
