-- What reads differently on MySQL. Where a write answers with an order, a function of the
-- migrations does it: one statement, one round trip, all of it or nothing. Nobody can see from
-- outside what a function leaves behind in the session; `session: clean` says that these leave
-- nothing, which spares the connection a reset after each.

-- name: with_details :one
-- An order as its page shows it: the customer, the customer's account (None for a guest) and
-- all items with their products, from five tables in one row.
-- returns: examples.shop.models.OrderDetails
-- column: item_count not null
-- column: items not null
SELECT /*+ SET_VAR(group_concat_max_len = 16777216) */
       o.id, o.status, o.total_amount, o.created_at,
       c.id        AS "customer.id",
       c.email     AS "customer.email",
       c.full_name AS "customer.full_name",
       c.tier      AS "customer.tier",
       u.id            AS "account.id",
       u.login_count   AS "account.login_count",
       u.last_login_at AS "account.last_login_at",
       content.item_count,
       content.items
FROM orders AS o
JOIN customers AS c ON c.id = o.customer_id
LEFT JOIN users AS u ON u.id = c.user_id
CROSS JOIN (
    SELECT cast(coalesce(sum(i.quantity), 0) AS SIGNED) AS item_count,
           json_extract(
               concat('[', coalesce(
                   group_concat(
                       json_object(
                           'product_id', p.id,
                           'name', p.name,
                           'quantity', i.quantity,
                           'unit_price', cast(i.unit_price AS CHAR)
                       )
                       ORDER BY p.id
                       SEPARATOR ','
                   ), ''), ']'),
               '$'
           ) AS items
    FROM order_items AS i
    JOIN products AS p ON p.id = i.product_id
    WHERE i.order_id = :id
) AS content
WHERE o.id = :id;

-- name: add :one
-- A new order, without items yet.
-- returns: examples.shop.models.Order
-- access: write
-- session: clean
-- column: id not null
-- column: customer_id not null
-- column: status not null
-- column: total_amount not null
-- column: created_at not null
SELECT id, customer_id, status, total_amount, created_at
FROM (SELECT orders_add(:customer_id, :total_amount) AS document LIMIT 1) AS done
CROSS JOIN json_table(done.document, '$' COLUMNS (
    id           BIGINT         PATH '$.id',
    customer_id  BIGINT         PATH '$.customer_id',
    status       VARCHAR(20)    PATH '$.status',
    total_amount DECIMAL(12, 2) PATH '$.total_amount',
    created_at   DATETIME(6)    PATH '$.created_at'
)) AS added;

-- name: add_items :affected
-- Several items of an order, from lists of equal length, in one round trip: each list travels as
-- a JSON array, and JSON_TABLE makes rows of it.
INSERT INTO order_items (order_id, product_id, quantity, unit_price)
SELECT :order_id, product.id, amount.quantity, money.unit_price
FROM json_table(:product_ids, '$[*]' COLUMNS (
         n FOR ORDINALITY, id BIGINT PATH '$')) AS product
JOIN json_table(:quantities, '$[*]' COLUMNS (
         n FOR ORDINALITY, quantity INT PATH '$')) AS amount ON amount.n = product.n
JOIN json_table(:unit_prices, '$[*]' COLUMNS (
         n FOR ORDINALITY, unit_price DECIMAL(12, 2) PATH '$')) AS money ON money.n = product.n;

-- name: place_single :maybe
-- A whole order of one product as one statement: take it from stock, write the order, write
-- its item. All of it happens, or (not enough in stock) nothing, and the result is None.
-- returns: examples.shop.models.Order
-- access: write
-- session: clean
-- column: id not null
-- column: customer_id not null
-- column: status not null
-- column: total_amount not null
-- column: created_at not null
SELECT id, customer_id, status, total_amount, created_at
FROM (SELECT orders_place_single(:customer_id, :product_id, :quantity) AS document LIMIT 1) AS done
CROSS JOIN json_table(done.document, '$' COLUMNS (
    id           BIGINT         PATH '$.id',
    customer_id  BIGINT         PATH '$.customer_id',
    status       VARCHAR(20)    PATH '$.status',
    total_amount DECIMAL(12, 2) PATH '$.total_amount',
    created_at   DATETIME(6)    PATH '$.created_at'
)) AS placed;

-- name: ship_next :many
-- Marks the oldest paid orders as shipped and returns them. SKIP LOCKED lets any number of
-- warehouses run this at the same time: none waits, and no order is shipped twice.
-- returns: examples.shop.models.Order
-- access: write
-- session: clean
-- column: id not null
-- column: customer_id not null
-- column: status not null
-- column: total_amount not null
-- column: created_at not null
SELECT id, customer_id, status, total_amount, created_at
FROM (SELECT orders_ship_next(:limit) AS document LIMIT 1) AS done
CROSS JOIN json_table(done.document, '$[*]' COLUMNS (
    id           BIGINT         PATH '$.id',
    customer_id  BIGINT         PATH '$.customer_id',
    status       VARCHAR(20)    PATH '$.status',
    total_amount DECIMAL(12, 2) PATH '$.total_amount',
    created_at   DATETIME(6)    PATH '$.created_at'
)) AS shipped
ORDER BY created_at, id;

-- name: cancel :maybe
-- Cancels an order that has not left the house, puts its items back into stock and records
-- why, as one statement. None if the order is beyond cancelling.
-- returns: examples.shop.models.Order
-- access: write
-- session: clean
-- column: id not null
-- column: customer_id not null
-- column: status not null
-- column: total_amount not null
-- column: created_at not null
SELECT id, customer_id, status, total_amount, created_at
FROM (SELECT orders_cancel(:id, :reason) AS document LIMIT 1) AS done
CROSS JOIN json_table(done.document, '$' COLUMNS (
    id           BIGINT         PATH '$.id',
    customer_id  BIGINT         PATH '$.customer_id',
    status       VARCHAR(20)    PATH '$.status',
    total_amount DECIMAL(12, 2) PATH '$.total_amount',
    created_at   DATETIME(6)    PATH '$.created_at'
)) AS cancelled;
