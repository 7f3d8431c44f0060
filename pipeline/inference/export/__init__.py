"""Export a trained network to the file formats of other programs, each in a module of its own."""
