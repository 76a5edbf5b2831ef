"""Decides which values serializers can write, and how."""
