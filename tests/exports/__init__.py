"""Exports and the files that jobs make."""
