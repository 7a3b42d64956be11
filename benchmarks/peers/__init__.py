"""What a user would pick instead of Haven, written as everybody writes it, and measured beside it."""
