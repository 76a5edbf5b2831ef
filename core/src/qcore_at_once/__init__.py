"""Runs several tasks at once in a worker: a plugin."""
