"""Placeholder replaced by its own change."""
