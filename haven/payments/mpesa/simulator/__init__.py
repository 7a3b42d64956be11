"""A stand-in for Safaricom's M-Pesa API that misbehaves as the real one does. See docs/mpesa-simulator.md."""
