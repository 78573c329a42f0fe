-- name: get :one
SELECT id, owner, balance, version FROM accounts WHERE id = :id;

-- name: find :maybe
SELECT id, owner, balance, version FROM accounts WHERE owner = :owner;

-- name: everyone :many
SELECT id, owner, balance, version FROM accounts ORDER BY id;

-- name: on_reader :many
-- role: reader
SELECT id, owner FROM accounts ORDER BY id;

-- name: how_many :scalar
SELECT count(*) FROM accounts;

-- name: search :many
SELECT id, owner, balance FROM accounts
WHERE id > 0
  AND balance >= :least       -- when :least
  AND owner = :owner          -- when :owner
ORDER BY id                   -- when :sort = 'oldest'
ORDER BY balance DESC, id     -- when :sort = 'richest'
LIMIT :limit;

-- name: add :exec
INSERT INTO accounts (id, owner, balance) VALUES (:id, :owner, :balance);

-- name: add_once :exec
-- retry: exactly_once
INSERT INTO accounts (id, owner, balance) VALUES (:id, :owner, :balance);

-- name: deposit :affected
UPDATE accounts SET balance = balance + :amount WHERE id = :id;

-- name: add_many :batch
INSERT INTO accounts (id, owner, balance) VALUES (:id, :owner, :balance);

-- name: lock :one
SELECT id, balance FROM accounts WHERE id = :id FOR UPDATE;

-- name: tidy :script
UPDATE accounts SET balance = 0 WHERE id = 1;
UPDATE accounts SET balance = 1 WHERE id = 2;

-- name: tidy_and_fail :script
UPDATE accounts SET balance = 7 WHERE id = 1;
INSERT INTO accounts (id, owner) VALUES (50, 'left behind');
INSERT INTO accounts (id, owner) VALUES (51, 'owner 1');

-- name: kept :one
-- cache: 1h
SELECT id, owner, balance FROM accounts WHERE id = :id;

-- name: rename :affected
-- invalidates: accounts.kept
UPDATE accounts SET owner = :owner WHERE id = :id;
