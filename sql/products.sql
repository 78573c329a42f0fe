-- Products, their prices and their stock.

-- name: get :one
-- The product with this id.
-- returns: examples.shop.models.Product
SELECT id, sku, name, category, price, stock, attributes, version
FROM products
WHERE id = :id;

-- name: get_by_sku :maybe
-- The product with this article number, or None.
-- returns: examples.shop.models.Product
SELECT id, sku, name, category, price, stock, attributes, version
FROM products
WHERE sku = :sku;

-- name: search :many
-- Products of the catalogue page. Attributes are matched by containment: {"colour": "red"}.
--
-- The last lines are a choice: :sort picks one of them, the first when it is not given, and
-- any other value is an error. It is never sent to the server.
-- returns: examples.shop.models.Product
-- role: reader
SELECT id, sku, name, category, price, stock, attributes, version
FROM products
WHERE true
  AND category = :category         -- when :category
  AND price <= :max_price          -- when :max_price
  AND attributes @> :attributes    -- when :attributes
  AND stock >= :min_stock          -- when :min_stock
ORDER BY price, id                 -- when :sort = 'cheapest'
ORDER BY price DESC, id            -- when :sort = 'dearest'
ORDER BY created_at DESC, id DESC  -- when :sort = 'newest'
LIMIT :limit;

-- name: lock :one
-- The product with this id, locked until the transaction ends. FOR UPDATE makes this SELECT a
-- write: it runs on the writer, wherever it is called.
-- returns: examples.shop.models.Product
SELECT id, sku, name, category, price, stock, attributes, version
FROM products
WHERE id = :id
FOR UPDATE;

-- name: lock_many :many
-- These products, locked in the order of their ids: callers that all lock in the same order
-- wait for each other, but never in a circle.
-- returns: examples.shop.models.Product
SELECT id, sku, name, category, price, stock, attributes, version
FROM products
WHERE id = ANY(:ids)
ORDER BY id
FOR UPDATE;

-- name: reserve :maybe
-- Takes this many from stock and gives the price, or None if there are not enough. Test and
-- change are one statement, so nobody can come in between.
-- returns: examples.shop.models.Reservation
UPDATE products
SET stock = stock - :quantity,
    version = version + 1
WHERE id = :id
  AND stock >= :quantity
RETURNING id, price, stock;

-- name: reserve_many :many
-- Takes several products from stock, one quantity for each id. Returns those that had enough.
-- returns: examples.shop.models.Reservation
UPDATE products AS p
SET stock = p.stock - wanted.quantity,
    version = p.version + 1
FROM unnest(:ids::bigint[], :quantities::integer[]) AS wanted (id, quantity)
WHERE p.id = wanted.id
  AND p.stock >= wanted.quantity
RETURNING p.id, p.price, p.stock;

-- name: change_price :maybe
-- A new price, unless somebody changed the product since this version was read: then None.
-- returns: examples.shop.models.Product
UPDATE products
SET price = :price,
    version = version + 1
WHERE id = :id
  AND version = :version
RETURNING id, sku, name, category, price, stock, attributes, version;

-- name: restock :batch
-- Goods came in. One statement, many parameter sets, one transaction, and the network is
-- crossed once for a whole run of them:
--     await db.sql.products.restock([{"id": 1, "quantity": 40}, {"id": 7, "quantity": 12}])
UPDATE products
SET stock = stock + :quantity,
    version = version + 1
WHERE id = :id;

-- name: low_stock :many
-- What has to be ordered: products with fewer than :threshold pieces, the scarcest first.
-- returns: examples.shop.models.StockLevel
SELECT id, sku, name, stock
FROM products
WHERE stock < :threshold
ORDER BY stock, id
LIMIT :limit;
