"""What a graph asks of a machine."""
