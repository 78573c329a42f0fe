-- Orders and their items.

-- name: get :one
-- The order with this id.
-- returns: examples.shop.models.Order
SELECT id, customer_id, status, total_amount, created_at
FROM orders
WHERE id = :id;

-- name: search :many
-- A customer's orders: all of them, or those of a status, or since a moment; newest first, or
-- the largest. Eight statements in one; each is prepared when it is first asked for.
-- returns: examples.shop.models.Order
SELECT id, customer_id, status, total_amount, created_at
FROM orders
WHERE customer_id = :customer_id
  AND status = :status               -- when :status
  AND created_at >= :since           -- when :since
ORDER BY created_at DESC, id DESC    -- when :sort = 'newest'
ORDER BY total_amount DESC, id DESC  -- when :sort = 'largest'
LIMIT :limit;

-- name: with_details :one
-- An order as its page shows it: the customer, the customer's account (None for a guest) and
-- all items with their products, from five tables in one row.
-- returns: examples.shop.models.OrderDetails
SELECT o.id, o.status, o.total_amount, o.created_at,
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
CROSS JOIN LATERAL (
    SELECT coalesce(sum(i.quantity), 0) AS item_count,
           coalesce(
               jsonb_agg(
                   jsonb_build_object(
                       'product_id', p.id,
                       'name', p.name,
                       'quantity', i.quantity,
                       'unit_price', i.unit_price::text
                   )
                   ORDER BY p.id
               ),
               '[]'
           ) AS items
    FROM order_items AS i
    JOIN products AS p ON p.id = i.product_id
    WHERE i.order_id = o.id
) AS content
WHERE o.id = :id;

-- name: items :many
-- What is in an order.
-- returns: examples.shop.models.OrderItem
SELECT order_id, product_id, quantity, unit_price
FROM order_items
WHERE order_id = :order_id
ORDER BY product_id;

-- name: export :many
-- All orders from a moment on, oldest first. Meant to be streamed, so that memory does not
-- grow with the number of orders, and from a reader, where it disturbs nobody:
--     async for order in db.reader.sql.orders.export.stream(since=day): ...
SELECT id, customer_id, status, total_amount, created_at
FROM orders
WHERE created_at >= :since
ORDER BY created_at, id;

-- name: add :one
-- A new order, without items yet.
-- returns: examples.shop.models.Order
INSERT INTO orders (customer_id, status, total_amount)
VALUES (:customer_id, 'pending', :total_amount)
RETURNING id, customer_id, status, total_amount, created_at;

-- name: add_item :exec
-- One item of an order.
INSERT INTO order_items (order_id, product_id, quantity, unit_price)
VALUES (:order_id, :product_id, :quantity, :unit_price);

-- name: add_items :affected
-- Several items of an order, from lists of equal length, in one round trip.
--
-- Where a parameter stands alone, the server cannot tell its type from what is beside it and
-- takes it for text. Say the type: as a cast in the SQL, or here.
-- param: order_id bigint
INSERT INTO order_items (order_id, product_id, quantity, unit_price)
SELECT :order_id, item.product_id, item.quantity, item.unit_price
FROM unnest(:product_ids::bigint[], :quantities::integer[], :unit_prices::numeric[])
     AS item (product_id, quantity, unit_price);

-- name: place_single :maybe
-- A whole order of one product as one statement: take it from stock, write the order, write
-- its item. All of it happens, or (not enough in stock) nothing, and the result is None.
-- One round trip instead of five, for the shop's most frequent kind of order.
-- param: customer_id bigint
-- returns: examples.shop.models.Order
WITH reserved AS (
    UPDATE products
    SET stock = stock - :quantity,
        version = version + 1
    WHERE id = :product_id
      AND stock >= :quantity
    RETURNING id, price
), placed AS (
    INSERT INTO orders (customer_id, status, total_amount)
    SELECT :customer_id, 'pending', price * :quantity
    FROM reserved
    RETURNING id, customer_id, status, total_amount, created_at
), item AS (
    INSERT INTO order_items (order_id, product_id, quantity, unit_price)
    SELECT placed.id, reserved.id, :quantity, reserved.price
    FROM placed
    CROSS JOIN reserved
)
SELECT id, customer_id, status, total_amount, created_at
FROM placed;

-- name: set_status :affected
-- Moves an order on, provided that it still has the status that the caller saw.
UPDATE orders
SET status = :status
WHERE id = :id
  AND status = :from_status;

-- name: ship_next :many
-- Marks the oldest paid orders as shipped and returns them. SKIP LOCKED lets any number of
-- warehouses run this at the same time: none waits, and no order is shipped twice.
-- returns: examples.shop.models.Order
WITH next AS (
    SELECT id
    FROM orders
    WHERE status = 'paid'
    ORDER BY created_at, id
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
), shipped AS (
    UPDATE orders AS o
    SET status = 'shipped'
    FROM next
    WHERE o.id = next.id
    RETURNING o.id, o.customer_id, o.status, o.total_amount, o.created_at
)
SELECT id, customer_id, status, total_amount, created_at
FROM shipped
ORDER BY created_at, id;

-- name: cancel :maybe
-- Cancels an order that has not left the house, puts its items back into stock and records
-- why, as one statement. None if the order is beyond cancelling.
-- param: reason text
-- returns: examples.shop.models.Order
WITH cancelled AS (
    UPDATE orders
    SET status = 'cancelled'
    WHERE id = :id
      AND status IN ('pending', 'paid')
    RETURNING id, customer_id, status, total_amount, created_at
), returned AS (
    UPDATE products AS p
    SET stock = p.stock + i.quantity,
        version = p.version + 1
    FROM order_items AS i
    JOIN cancelled ON cancelled.id = i.order_id
    WHERE p.id = i.product_id
), recorded AS (
    INSERT INTO events (kind, subject_id, payload)
    SELECT 'order.cancelled', id, jsonb_build_object('reason', :reason)
    FROM cancelled
)
SELECT id, customer_id, status, total_amount, created_at
FROM cancelled;
