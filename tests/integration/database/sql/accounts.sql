-- name: get :one
-- The account with this id.
SELECT id, owner, balance FROM accounts WHERE id = :id;

-- name: find :maybe
SELECT id, owner, balance FROM accounts WHERE id = :id;

-- name: balance :scalar
SELECT balance FROM accounts WHERE id = :id;

-- name: all :many
SELECT id, owner, balance FROM accounts ORDER BY id;

-- name: by_owner_prefix :one
SELECT id, owner FROM accounts WHERE owner LIKE :prefix;

-- name: on_reader :maybe
-- role: reader
SELECT id, owner, balance FROM accounts WHERE id = :id;

-- name: where_am_i :scalar
-- role: reader
SELECT aurora_db_instance_identifier();

-- name: add :exec
INSERT INTO accounts (id, owner, balance) VALUES (:id, :owner, :balance);

-- name: add_all :batch
INSERT INTO accounts (id, owner) VALUES (:id, :owner);

-- name: deposit :affected
UPDATE accounts SET balance = balance + :amount WHERE id = :id;

-- name: lock :one
SELECT id, balance FROM accounts WHERE id = :id FOR UPDATE;

-- name: lock_now :one
SELECT id, balance FROM accounts WHERE id = :id FOR UPDATE NOWAIT;

-- name: slow :scalar
-- access: read
SELECT count(*) FROM pg_sleep(:seconds);

-- name: slow_write :affected
WITH waited AS MATERIALIZED (SELECT pg_sleep(:seconds) IS NULL AS done)
UPDATE accounts SET balance = balance + 1 FROM waited WHERE id = :id;

-- name: brief :scalar
-- timeout: 100ms
-- access: read
SELECT count(*) FROM pg_sleep(:seconds);

-- name: patient :scalar
-- timeout: 5s
-- access: read
SELECT count(*) FROM pg_sleep(:seconds);

-- name: series :many
SELECT n, 'row ' || n AS text FROM generate_series(1, :count) AS n;

-- name: set_marker :exec
-- access: write
SELECT set_config('aurora_test.marker', :value, false);

-- name: maintain :script
INSERT INTO accounts (id, owner) VALUES (101, 'script 1');
INSERT INTO accounts (id, owner) VALUES (102, 'script 2');

-- name: broken_script :script
INSERT INTO accounts (id, owner) VALUES (103, 'script 3');
INSERT INTO accounts (id, owner) VALUES (103, 'script 4');
