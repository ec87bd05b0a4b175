"""One program for each claim; run them as `python -m bench.NAME`."""
