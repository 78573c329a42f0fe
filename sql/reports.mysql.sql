-- What reads differently on MySQL: dates are UTC already, and a sum of integers is a decimal.

-- name: sales_by_day :many
-- Orders, buyers and revenue of each day (UTC) from :since on.
-- returns: examples.shop.models.DailySales
-- role: reader
-- timeout: 30s
-- column: day not null
-- column: revenue not null
SELECT date(created_at) AS day,
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
-- column: place not null
-- column: pieces not null
-- column: revenue not null
WITH sold AS (
    SELECT i.product_id,
           cast(sum(i.quantity) AS SIGNED) AS pieces,
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
