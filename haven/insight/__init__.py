"""What an agency's rows add up to: the dashboard."""
