"""Names of functions: from a function to its name, and back."""
