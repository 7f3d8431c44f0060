"""The ``torch`` engine: PyTorch, on CUDA and on the CPU.

Read `engine`, `parameters`, `layers`, `minibatches`; then `setup` and `builds`, which install PyTorch. Imports
`engines.cuda`, `engines.engine`, `networks` and `errors`.
"""
