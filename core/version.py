"""Name the version of this toolkit."""

VERSION = "0.1.0"
