"""Reads layered settings into typed values, and knows no setting."""
