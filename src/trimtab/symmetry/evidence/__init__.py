"""How well a scheme explains the data, in nats: three ways to estimate it."""
