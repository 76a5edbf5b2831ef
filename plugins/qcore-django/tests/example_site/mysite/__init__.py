"""A site on Django-Q that the tests move."""
