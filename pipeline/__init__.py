"""What the stages do: plain functions that read files and write files, usable without Luigi."""
