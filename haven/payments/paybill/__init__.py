"""Money that M-Pesa says has come: by C2B confirmation or by its own list. Each receipt becomes one payment, or waits."""
