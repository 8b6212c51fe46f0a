"""The seam (`base`) and the storage that stands behind it. Never imports `driver`."""
