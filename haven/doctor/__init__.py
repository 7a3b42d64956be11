"""Looks at everything an installation needs, and says what to do where something is wrong."""
