"""Who lives where, on what terms: tenants and leases."""
