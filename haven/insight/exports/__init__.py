"""Exports: every row of a list, as CSV, XLSX, NDJSON or Parquet."""
