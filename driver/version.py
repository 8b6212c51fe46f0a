"""The version of this program, as `kedge version` and Docker's Status show it."""

VERSION = "0.1.0"
