"""The reference shop: models, data and scenarios on top of ``sql/`` and ``migrations/``.

Read ``sql/users.sql`` first, then :mod:`examples.shop.models` (what its rows become) and
:mod:`examples.shop.scenarios` (what a service does with it).
"""

from examples.shop.data import ShopData, ShopSize
from examples.shop.load import LoadReport, load_shop

__all__ = ["LoadReport", "ShopData", "ShopSize", "load_shop"]
