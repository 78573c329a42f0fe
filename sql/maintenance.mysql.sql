-- For whoever looks after the database.

-- name: is_empty :scalar
-- Whether the shop has no data yet: 1 or 0, MySQL's truth.
SELECT NOT EXISTS (SELECT 1 FROM users)
   AND NOT EXISTS (SELECT 1 FROM customers)
   AND NOT EXISTS (SELECT 1 FROM products);

-- name: foreign_keys :many
-- The foreign keys that a load takes away and brings back: none. ALTER TABLE would commit the
-- load half way; here each row is checked as it comes.
SELECT constraint_name AS drop_command, constraint_name AS add_command
FROM information_schema.referential_constraints
WHERE false;

-- name: after_load :script
-- To be run after rows were loaded with ids of their own. AUTO_INCREMENT has gone on behind the
-- largest id by itself, and ANALYZE TABLE would commit the load half way: there is nothing to do.
DO 0;

-- name: after_commit :script
-- To be run when a load was committed: the planner learns what is in the tables. InnoDB counts
-- anew when a tenth of a table has changed, but it may have counted while the load was under way:
-- the planner then takes a million rows for none, and a report of a second lasts minutes.
ANALYZE TABLE users, customers, products, orders, order_items;

-- name: clear :script
-- Empties the shop. There is no way back. No TRUNCATE: a table that others refer to refuses it.
DELETE FROM events;
DELETE FROM order_items;
DELETE FROM orders;
DELETE FROM customers;
DELETE FROM products;
DELETE FROM users;
ALTER TABLE events AUTO_INCREMENT = 1;
ALTER TABLE orders AUTO_INCREMENT = 1;
ALTER TABLE customers AUTO_INCREMENT = 1;
ALTER TABLE products AUTO_INCREMENT = 1;
ALTER TABLE users AUTO_INCREMENT = 1;
