"""What `trimtab compile` claims, measured; `__main__` is the command."""
