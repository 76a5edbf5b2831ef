"""Defines the settings, their sources and their rules."""
