"""What all endpoints share: problems, lists, conditional requests, idempotency, guards."""
