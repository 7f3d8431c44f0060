"""Plain functions that read files and write files, for stages and for notebooks, without Luigi.

Only the command line, ``python -m pipeline``, needs Luigi, since the settings are Luigi's.
"""

from pipeline.files import loaded_sources as loaded_sources  # it notes the sources of all that is imported after it
