"""How fast, beside whom, and at what cost: `python -m bench --help`."""
