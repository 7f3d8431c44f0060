"""Write amounts for people."""


def byte_amount(size: int) -> str:
    """Return a number of bytes as ``1.5 MB`` or ``20.5 kB``."""
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
