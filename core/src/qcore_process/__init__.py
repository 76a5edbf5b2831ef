"""What a process asks of Linux and of Python, whatever it runs."""
