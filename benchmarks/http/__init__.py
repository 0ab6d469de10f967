"""Requests of a server on this machine: an HTTP provider against clients with less, and with as much."""

from benchmarks.http.suite import run

__all__ = ["run"]
