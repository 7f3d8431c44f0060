"""The article's results, and their curves behind those of a training.

Read `runs`, `curves`. ``README.md`` describes how ``runs.csv`` was read and checked.
"""
