"""Export a trained network to the file formats of other programs.

Read `export`, then a module for each format: `onnx`, `safetensors`.
"""
