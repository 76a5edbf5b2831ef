"""What qcore brings along: a plugin like any other."""
