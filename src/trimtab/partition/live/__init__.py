"""A divided network at work: the wire, both of its ends, and who decides."""
