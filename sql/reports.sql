-- What the shop's people look at in the morning. All of it runs on a reader, and gives up
-- rather than hold one for long.

-- name: sales_by_day :many
-- Orders, buyers and revenue of each day (UTC) from :since on.
--
-- The server says of no sum that it cannot be NULL. Here each group has a row, so it cannot:
-- `column:` says what the model may rely on.
-- returns: examples.shop.models.DailySales
-- role: reader
-- timeout: 30s
-- column: day not null
-- column: revenue not null
SELECT (created_at AT TIME ZONE 'UTC')::date AS day,
       count(*) AS orders,
       count(DISTINCT customer_id) AS customers,
       sum(total_amount) AS revenue
FROM orders
WHERE created_at >= :since
  AND status NOT IN ('cancelled', 'returned')
GROUP BY day
ORDER BY day;

-- name: best_sellers :many
-- The :per_category products of each category that earned most since :since.
-- returns: examples.shop.models.BestSeller
-- role: reader
-- timeout: 30s
WITH sold AS (
    SELECT i.product_id,
           sum(i.quantity) AS pieces,
           sum(i.quantity * i.unit_price) AS revenue
    FROM orders AS o
    JOIN order_items AS i ON i.order_id = o.id
    WHERE o.created_at >= :since
      AND o.status NOT IN ('cancelled', 'returned')
    GROUP BY i.product_id
), ranked AS (
    SELECT p.category, p.id AS product_id, p.name, sold.pieces, sold.revenue,
           row_number() OVER (
               PARTITION BY p.category
               ORDER BY sold.revenue DESC, p.id
           ) AS place
    FROM sold
    JOIN products AS p ON p.id = sold.product_id
)
SELECT category, place, product_id, name, pieces, revenue
FROM ranked
WHERE place <= :per_category
ORDER BY category, place;

-- name: orders_by_status :many
-- How many orders stand where, and what they are worth.
-- returns: examples.shop.models.StatusCount
-- role: reader
-- timeout: 30s
SELECT status,
       count(*) AS orders,
       sum(total_amount) AS amount
FROM orders
WHERE created_at >= :since  -- when :since
GROUP BY status
ORDER BY status;

-- name: top_customers :many
-- The customers who spent most.
-- returns: examples.shop.models.TopCustomer
-- role: reader
-- timeout: 30s
SELECT c.id        AS "customer.id",
       c.email     AS "customer.email",
       c.full_name AS "customer.full_name",
       c.tier      AS "customer.tier",
       spent.order_count,
       spent.amount
FROM (
    SELECT customer_id, count(*) AS order_count, sum(total_amount) AS amount
    FROM orders
    WHERE status NOT IN ('cancelled', 'returned')
    GROUP BY customer_id
    ORDER BY amount DESC, customer_id
    LIMIT :limit
) AS spent
JOIN customers AS c ON c.id = spent.customer_id
ORDER BY spent.amount DESC, c.id;
