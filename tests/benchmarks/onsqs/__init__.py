"""qcore on SQS: what is fast there is few requests."""
