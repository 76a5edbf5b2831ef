"""How log lines look, and what they say of tasks."""
