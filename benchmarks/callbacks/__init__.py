"""How many M-Pesa callbacks a second Haven applies, against pgbench with the same writes. See README.md."""
