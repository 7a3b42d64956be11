"""What is let: owners, properties and their units."""
