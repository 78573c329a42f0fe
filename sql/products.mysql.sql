-- What reads differently on MySQL.

-- name: search :many
-- Products of the catalogue page. Attributes are matched by containment: {"colour": "red"}.
-- returns: examples.shop.models.Product
-- role: reader
SELECT id, sku, name, category, price, stock, attributes, version
FROM products
WHERE true
  AND category = :category                       -- when :category
  AND price <= :max_price                        -- when :max_price
  AND json_contains(attributes, :attributes)     -- when :attributes
  AND stock >= :min_stock                        -- when :min_stock
ORDER BY price, id                 -- when :sort = 'cheapest'
ORDER BY price DESC, id            -- when :sort = 'dearest'
ORDER BY created_at DESC, id DESC  -- when :sort = 'newest'
LIMIT :limit;

-- name: lock_many :many
-- These products, locked in the order of their ids: callers that all lock in the same order
-- wait for each other, but never in a circle.
-- returns: examples.shop.models.Product
SELECT id, sku, name, category, price, stock, attributes, version
FROM products
WHERE id IN (:ids)
ORDER BY id
FOR UPDATE;

-- name: reserve :maybe
-- Takes this many from stock and gives the price, or None if there are not enough.
-- returns: examples.shop.models.Reservation
-- access: write
-- session: clean
-- column: id not null
-- column: price not null
-- column: stock not null
SELECT id, price, stock
FROM (SELECT products_reserve(:id, :quantity) AS document LIMIT 1) AS done
CROSS JOIN json_table(done.document, '$' COLUMNS (
    id    BIGINT         PATH '$.id',
    price DECIMAL(12, 2) PATH '$.price',
    stock INT            PATH '$.stock'
)) AS reserved;

-- name: reserve_many :many
-- Takes several products from stock, one quantity for each id. Returns those that had enough.
-- returns: examples.shop.models.Reservation
-- access: write
-- session: clean
-- column: id not null
-- column: price not null
-- column: stock not null
SELECT id, price, stock
FROM (SELECT products_reserve_many(:ids, :quantities) AS document LIMIT 1) AS done
CROSS JOIN json_table(done.document, '$[*]' COLUMNS (
    id    BIGINT         PATH '$.id',
    price DECIMAL(12, 2) PATH '$.price',
    stock INT            PATH '$.stock'
)) AS reserved;

-- name: change_price :maybe
-- A new price, unless somebody changed the product since this version was read: then None.
-- returns: examples.shop.models.Product
-- access: write
-- session: clean
-- column: id not null
-- column: sku not null
-- column: name not null
-- column: category not null
-- column: price not null
-- column: stock not null
-- column: attributes not null
-- column: version not null
SELECT id, sku, name, category, price, stock,
       json_extract(done.document, '$.attributes') AS attributes, version
FROM (SELECT products_change_price(:id, :version, :price) AS document LIMIT 1) AS done
CROSS JOIN json_table(done.document, '$' COLUMNS (
    id         BIGINT         PATH '$.id',
    sku        VARCHAR(64)    PATH '$.sku',
    name       VARCHAR(200)   PATH '$.name',
    category   VARCHAR(64)    PATH '$.category',
    price      DECIMAL(12, 2) PATH '$.price',
    stock      INT            PATH '$.stock',
    version    INT            PATH '$.version'
)) AS changed;
