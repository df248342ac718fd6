"""Breaks everything that can break under workers that run jobs, and proves that nothing was lost: `make chaos`.

plan (what breaks when, from a seed) -> conductor -> faults, on a fleet of workers and producers, a server, and a proxy
between them -> facts (the tables, and what the tasks, producers and the conductor wrote into journals) -> checker ->
report. The checker imports nothing of queuer.
"""
