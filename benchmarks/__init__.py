"""Measurements with figures to publish. Each folder has a README and runs with one command."""
