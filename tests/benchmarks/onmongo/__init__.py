"""qcore on MongoDB, beside qcore on Redis."""
