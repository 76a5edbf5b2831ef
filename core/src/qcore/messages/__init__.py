"""What is signed: messages, results, status, marks."""
