"""Examples that run: ``python -m examples.shop.demo``."""
