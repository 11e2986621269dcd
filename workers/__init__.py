"""The workers: an agent per machine, and the task processes and shuffle server that it starts.

Nothing in `mapreduce` imports this package; it is started as processes (`python -P -m workers.agent ...`).
"""
