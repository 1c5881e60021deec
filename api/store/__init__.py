"""The store of jobs, characters and the desk: a SQLite file, or a PostgreSQL database."""

from __future__ import annotations

from .characters import Characters
from .desk import Desk
from .folders import Folders
from .jobs import GONE, Jobs
from .migrations import StoreTooNew
from .tables import ACTIVE, Row

__all__ = ["ACTIVE", "GONE", "Row", "Store", "StoreTooNew"]


class Store(Jobs, Folders, Characters, Desk):
    """Jobs, characters and the desk in one database. Every call may raise ApiError, such as 503 while another program
    locks it."""
