"""Texts that people read: what messages show, hide and suggest, and what a terminal may be sent."""
