"""Haven: the property-management application."""
