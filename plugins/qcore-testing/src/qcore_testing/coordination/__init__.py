"""Whether a coordination store keeps to its interface."""
