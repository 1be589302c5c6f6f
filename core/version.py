"""The version of this kit."""

VERSION = "0.1.0"
