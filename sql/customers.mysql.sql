-- What reads differently on MySQL.

-- name: get_by_ids :many
-- The customers with these ids, in the order of the ids.
-- returns: examples.shop.models.Customer
SELECT id, user_id, email, full_name, tier, address, created_at
FROM customers
WHERE id IN (:ids)
ORDER BY id;

-- name: search :many
-- Customers by the beginning of their name, by tier and by city, in any combination.
-- returns: examples.shop.models.Customer
-- role: reader
SELECT id, user_id, email, full_name, tier, address, created_at
FROM customers
WHERE true
  AND full_name_lower LIKE concat(lower(:name), '%')       -- when :name
  AND tier = :tier                                         -- when :tier
  AND json_unquote(json_extract(address, '$.city')) = :city  -- when :city
  AND id > :after_id                                       -- when :after_id
ORDER BY id
LIMIT :limit;

-- name: add :one
-- A new customer. Give the address as a mapping, or None.
-- returns: examples.shop.models.Customer
-- access: write
-- session: clean
-- column: id not null
-- column: email not null
-- column: full_name not null
-- column: tier not null
-- column: created_at not null
SELECT id, user_id, email, full_name, tier,
       json_extract(done.document, '$.address') AS address, created_at
FROM (SELECT customers_add(:user_id, :email, :full_name, :address) AS document LIMIT 1) AS done
CROSS JOIN json_table(done.document, '$' COLUMNS (
    id         BIGINT       PATH '$.id',
    user_id    BIGINT       PATH '$.user_id',
    email      VARCHAR(320) PATH '$.email',
    full_name  VARCHAR(200) PATH '$.full_name',
    tier       VARCHAR(20)  PATH '$.tier',
    created_at DATETIME(6)  PATH '$.created_at'
)) AS added;

-- name: summary :one
-- What the head of the customer page shows: who it is and what was bought so far. Aggregates
-- without GROUP BY give one row also where nothing was bought.
-- returns: examples.shop.models.CustomerSummary
-- role: reader
-- timeout: 2s
-- column: total_spent not null
SELECT c.id        AS "customer.id",
       c.email     AS "customer.email",
       c.full_name AS "customer.full_name",
       c.tier      AS "customer.tier",
       u.id            AS "account.id",
       u.login_count   AS "account.login_count",
       u.last_login_at AS "account.last_login_at",
       bought.order_count,
       bought.total_spent,
       bought.last_order_at
FROM customers AS c
LEFT JOIN users AS u ON u.id = c.user_id
CROSS JOIN (
    SELECT count(*) AS order_count,
           coalesce(sum(o.total_amount), 0) AS total_spent,
           max(o.created_at) AS last_order_at
    FROM orders AS o
    WHERE o.customer_id = :id
      AND o.status NOT IN ('cancelled', 'returned')
) AS bought
WHERE c.id = :id;

-- name: order_history :many
-- The customer's latest orders, each with its items: one statement instead of one for each order.
--
-- JSON_ARRAYAGG knows no order on MySQL, so the array is put together as text, which the hint
-- gives room for, and JSON_EXTRACT makes JSON of it again.
-- returns: examples.shop.models.OrderWithItems
-- role: reader
-- column: items not null
SELECT /*+ SET_VAR(group_concat_max_len = 16777216) */
       o.id, o.customer_id, o.status, o.total_amount, o.created_at,
       json_extract(
           concat('[', coalesce((
               SELECT group_concat(
                          json_object(
                              'product_id', p.id,
                              'name', p.name,
                              'quantity', i.quantity,
                              'unit_price', cast(i.unit_price AS CHAR)
                          )
                          ORDER BY p.id
                          SEPARATOR ','
                      )
               FROM order_items AS i
               JOIN products AS p ON p.id = i.product_id
               WHERE i.order_id = o.id
           ), ''), ']'),
           '$'
       ) AS items
FROM orders AS o
WHERE o.customer_id = :customer_id
ORDER BY o.created_at DESC, o.id DESC
LIMIT :limit;
