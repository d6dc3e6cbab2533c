"""Schedule spaces, one operator family a file: knobs and loop nests, no TVM."""
