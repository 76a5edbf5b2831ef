"""The face: hands on names, defines nothing."""
