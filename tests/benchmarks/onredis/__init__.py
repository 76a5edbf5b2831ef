"""qcore beside other task queues, all on one private Redis."""
