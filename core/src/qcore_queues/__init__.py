"""Names, orders and views of queues."""
