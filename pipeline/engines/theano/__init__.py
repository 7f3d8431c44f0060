"""The ``theano`` engine: the article's own libraries, in a child process and an environment of their own.

Read `engine`, `child`, `environment`, `setup`, `flags`.
"""
