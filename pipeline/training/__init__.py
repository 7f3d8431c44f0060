"""Train a network, keep checkpoints, and evaluate it on the test images.

Read `examples` (the split), `train`, `history`, `film`, `checkpoint`, `evaluate`. Imports `engines` and `data`, and
their imports.
"""
