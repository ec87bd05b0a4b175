"""The ground floor: errors, limits, clock, ids, the file system seam, logging, metrics.

Everything else may import from here; nothing here imports from the rest of the project.
"""
