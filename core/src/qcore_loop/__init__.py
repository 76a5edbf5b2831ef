"""Event loops beside threads, and threads that can be interrupted."""
