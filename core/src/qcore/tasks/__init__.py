"""One task: how it is declared, called, limited, found and run."""
