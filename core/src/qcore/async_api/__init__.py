"""Enqueuing and waiting in asyncio programs, without blocking their loop."""
