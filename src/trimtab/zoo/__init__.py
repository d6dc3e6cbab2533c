"""The networks of the papers, and how a specification becomes one of them."""
