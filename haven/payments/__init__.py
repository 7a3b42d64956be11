"""Payments: money coming in, the providers it comes through and the people it comes from."""
