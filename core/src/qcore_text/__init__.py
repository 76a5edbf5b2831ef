"""Texts for people: what messages show, hide and suggest."""
