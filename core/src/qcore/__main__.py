"""`python -m qcore`."""

from qcore.cli import main

if __name__ == "__main__":
    main()
