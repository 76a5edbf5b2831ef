"""What a worker counts of its work, in memory that it shares."""
