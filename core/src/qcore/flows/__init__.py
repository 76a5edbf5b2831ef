"""Tasks that follow from tasks, and the order of writes."""
