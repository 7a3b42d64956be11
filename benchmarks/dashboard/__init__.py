"""What the dashboard costs."""
