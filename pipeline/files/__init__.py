"""Read files without trusting them, and replace them as a whole.

Each module stands alone. Imports `errors`.
"""
