"""Which files of a program have changed, for `qcore run --reload`."""
