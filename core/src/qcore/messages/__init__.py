"""Defines what is signed: messages, results, status and flags."""
