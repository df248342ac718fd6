"""The master's duties. Like the worker, it is given callables, and knows nothing of databases."""
