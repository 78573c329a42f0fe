-- Customers: the people who buy.

-- name: get :one
-- The customer with this id. The address is a jsonb column and fills a model of its own.
-- returns: examples.shop.models.Customer
SELECT id, user_id, email, full_name, tier, address, created_at
FROM customers
WHERE id = :id;

-- name: get_by_ids :many
-- The customers with these ids, in the order of the ids.
-- returns: examples.shop.models.Customer
SELECT id, user_id, email, full_name, tier, address, created_at
FROM customers
WHERE id = ANY(:ids)
ORDER BY id;

-- name: search :many
-- Customers by the beginning of their name, by tier and by city, in any combination.
--
-- A line that ends in `when` is part of the statement only if its parameter is given; each
-- combination that is used is a prepared statement of its own. Pages go by key and not by
-- OFFSET: hand in the last id of one page as :after_id to get the next.
-- returns: examples.shop.models.Customer
-- role: reader
SELECT id, user_id, email, full_name, tier, address, created_at
FROM customers
WHERE true
  AND lower(full_name) LIKE lower(:name) || '%'  -- when :name
  AND tier = :tier                               -- when :tier
  AND address ->> 'city' = :city                 -- when :city
  AND id > :after_id                             -- when :after_id
ORDER BY id
LIMIT :limit;

-- name: add :one
-- A new customer. Give the address as a mapping, or None.
-- returns: examples.shop.models.Customer
INSERT INTO customers (user_id, email, full_name, address)
VALUES (:user_id, :email, :full_name, :address)
RETURNING id, user_id, email, full_name, tier, address, created_at;

-- name: move :affected
-- A new address.
UPDATE customers
SET address = :address
WHERE id = :id;

-- name: summary :one
-- What the head of the customer page shows: who it is and what was bought so far.
--
-- An alias with a dot fills a model inside the model: "customer.email" is the attribute email
-- of the attribute customer. The account comes from an outer join: it is None for a guest.
-- returns: examples.shop.models.CustomerSummary
-- role: reader
-- timeout: 2s
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
CROSS JOIN LATERAL (
    SELECT count(*) AS order_count,
           coalesce(sum(o.total_amount), 0) AS total_spent,
           max(o.created_at) AS last_order_at
    FROM orders AS o
    WHERE o.customer_id = c.id
      AND o.status NOT IN ('cancelled', 'returned')
) AS bought
WHERE c.id = :id;

-- name: order_history :many
-- The customer's latest orders, each with its items: one statement instead of one for each order.
--
-- The items are built as JSON on the server and become a list of models. Money travels in it
-- as text, because a JSON number would become a float on the way.
-- returns: examples.shop.models.OrderWithItems
-- role: reader
SELECT o.id, o.customer_id, o.status, o.total_amount, o.created_at,
       (
           SELECT coalesce(
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
                  )
           FROM order_items AS i
           JOIN products AS p ON p.id = i.product_id
           WHERE i.order_id = o.id
       ) AS items
FROM orders AS o
WHERE o.customer_id = :customer_id
ORDER BY o.created_at DESC, o.id DESC
LIMIT :limit;
