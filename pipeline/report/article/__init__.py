"""Read the article's results.

``README.md`` describes how ``runs.csv`` was read and checked.
"""
