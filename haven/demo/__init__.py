"""A believable demo: Kenyan letting agencies with their homes, people and months of money, of any size."""
