"""Telling tenants and agencies what became of a payment, in words."""
