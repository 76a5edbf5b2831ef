"""Keeps queues, results and schedules in a database of the site."""
