"""How many people Haven serves, and how fast: simulated users, what they found, and a judgement. `docs/loadtest.md`.

``haven.loadtest.scenarios`` and ``haven.loadtest.generator`` are for processes of their own: Locust, which they import, turns
every blocking call of its process into gevent's. Nothing else here imports them.
"""
