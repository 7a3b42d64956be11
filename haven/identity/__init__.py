"""Agencies, the people and programs that sign in, and what they may do."""
