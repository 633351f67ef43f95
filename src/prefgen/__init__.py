"""PrefGen: pictures made for one particular person."""

__version__ = "0.1.0"
