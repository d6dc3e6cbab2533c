"""What trimtab claims, measured: one folder a capability, one command each."""
