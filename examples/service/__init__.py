"""A small web service on the shop's SQL, with no dependency but the library.

It is an ASGI application: any ASGI server runs it (``uvicorn examples.service:app``), and tests
call it directly. Read :mod:`examples.service.app` first, then :mod:`examples.service.answers`
(which error becomes which status).
"""

from examples.service.answers import Answer, answer_for
from examples.service.app import Service

__all__ = ["Answer", "Service", "answer_for", "app"]

app = Service()
"""The service on the database that ``AURORA_*`` variables describe; opened at start-up."""
