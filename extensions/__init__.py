"""Self-contained Flask extensions; none knows Haven."""
