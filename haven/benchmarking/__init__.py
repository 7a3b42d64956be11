"""Whether Haven has become slower: measured in turns, decided by statistics that stand noise, kept, told. `docs/benchmarks.md`.

What is measured is in ``benchmarks/suite`` of the checkout; nothing here is needed to serve requests.
"""
