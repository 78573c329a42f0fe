"""The PostgreSQL side of a local cluster."""
