"""Records: small values with compare-and-swap, the one primitive every backend must offer.

    base ─┬─ memory      in this process
          ├─ directory   files below a root (root, key_directory, sweeping, durable_files)
          ├─ store       an object store that can create an object once (slots)
          └─ guarded     others, reached only through a guard

Values lie in `envelopes`; a version is opaque to callers, and how two of these stores write theirs
is in `versions`.
"""

from backends.records.base import Record, Records

__all__ = ["Record", "Records"]
