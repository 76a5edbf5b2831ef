"""The entry of the command `qcore`, which imports nothing else."""
