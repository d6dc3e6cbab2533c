"""The engine at work: memory, processes, clocks, sockets."""
