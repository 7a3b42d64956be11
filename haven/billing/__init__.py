"""What is owed: invoices, rent runs, and the double-entry ledger behind them."""
