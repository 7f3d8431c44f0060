"""What the stages do: plain functions that read files and write files, usable without Luigi.

The command line, ``python -m pipeline``, alone needs Luigi, since the settings are Luigi's.
"""

from pipeline.files import loaded_sources as loaded_sources  # it notes the sources of all that is imported after it
