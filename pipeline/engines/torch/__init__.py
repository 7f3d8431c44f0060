"""The ``torch`` engine: PyTorch, on CUDA and on the CPU.

Read `engine`, `parameters`, `layers`, `minibatches`, `failures`. Imports `engines.engine`, `networks` and `errors`.
"""
