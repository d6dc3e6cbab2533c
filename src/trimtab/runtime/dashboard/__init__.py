"""A live page of what a command does, told by whoever knows it."""
