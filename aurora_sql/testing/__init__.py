"""What tests of services built on aurora_sql use; the fixtures are in the pytest plugin."""
