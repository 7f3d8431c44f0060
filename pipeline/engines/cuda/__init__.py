"""What the engines share that compute with PyTorch's tensors on a GPU: `torch` and `triton`.

Read `graphs` (record once, replay in every step), `validation`, `memory`, `failures`, `exponentials`. Imports
`engines.engine`, `networks` and `errors`.
"""
