"""What the user may set, and what must hold between it."""
