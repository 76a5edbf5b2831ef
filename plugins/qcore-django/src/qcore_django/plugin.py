"""Lists what this plugin offers, by name."""
