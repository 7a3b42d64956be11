"""Files that jobs make: kept in a storage for some days, and fetched by a signed link."""
