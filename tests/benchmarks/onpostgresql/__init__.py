"""qcore on PostgreSQL, beside procrastinate."""
