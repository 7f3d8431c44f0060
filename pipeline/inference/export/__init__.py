"""Write a trained network in the file formats of other programs, a module for each format."""
