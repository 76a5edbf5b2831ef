"""Creates the tables in a database of the site."""
