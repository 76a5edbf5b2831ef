"""qcore on stand-ins: requests a task, which are the service's own too."""
