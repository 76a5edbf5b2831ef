"""qcore on services: what is fast there is few requests."""
