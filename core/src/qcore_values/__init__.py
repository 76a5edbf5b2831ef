"""How values travel, and which an option may have."""
