"""Many rows at once: read from CSV, NDJSON or JSON, checked as single ones are, written in batches."""
