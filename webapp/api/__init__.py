"""The JSON API under /api/v1. Each operation is declared once: the declaration checks requests and writes the OpenAPI document."""

from __future__ import annotations

from webapp.api import document, many, reads, tasks, workers
from webapp.api.operation import OPERATIONS, Operation, routes
from webapp.auth import csrf

__all__ = ["OPERATIONS", "Operation", "document", "many", "reads", "routes", "tasks", "workers"]

csrf.exempt(routes)  # nothing here is changed by a cookie alone: access.py asks for a token
