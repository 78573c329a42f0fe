-- For whoever looks after the database.

-- name: is_empty :scalar
-- Whether the shop has no data yet.
SELECT NOT EXISTS (SELECT FROM users)
   AND NOT EXISTS (SELECT FROM customers)
   AND NOT EXISTS (SELECT FROM products);

-- name: foreign_keys :many
-- The foreign keys of the shop's tables, as commands that drop each and bring it back. Checking
-- a key once for a whole table, after the load, costs a fraction of checking it row by row.
SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) AS drop_command,
       format('ALTER TABLE %s ADD CONSTRAINT %I %s',
              conrelid::regclass, conname, pg_get_constraintdef(oid)) AS add_command
FROM pg_constraint
WHERE contype = 'f'
  AND conrelid = ANY(ARRAY['customers', 'orders', 'order_items']::regclass[])
ORDER BY conrelid, conname;

-- name: after_load :script
-- To be run after rows were loaded with ids of their own: the sequences go on behind the
-- largest id, and the planner learns what is in the tables. A script is several statements
-- without parameters.
SELECT setval(pg_get_serial_sequence('users', 'id'), max(id)) FROM users;
SELECT setval(pg_get_serial_sequence('customers', 'id'), max(id)) FROM customers;
SELECT setval(pg_get_serial_sequence('products', 'id'), max(id)) FROM products;
SELECT setval(pg_get_serial_sequence('orders', 'id'), max(id)) FROM orders;
ANALYZE users, customers, products, orders, order_items;

-- name: after_commit :script
-- To be run when a load was committed: nothing is left to do here, after_load has seen to it.
-- access: write
SELECT;

-- name: clear :script
-- Empties the shop. There is no way back.
TRUNCATE users, customers, products, orders, order_items, events RESTART IDENTITY;
